"""What the dialler may say, as values; no connection."""
