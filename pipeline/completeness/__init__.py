"""Completeness: what the dialler says it placed against what came, and what is missing, found and fetched."""
