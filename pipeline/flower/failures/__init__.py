"""The tab "Failed calls"."""
