"""What is watched, as values; no database."""
