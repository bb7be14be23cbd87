"""Recordings: when to ask for them, fetching, keeping and deleting them."""
