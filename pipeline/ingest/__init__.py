"""Ingest: from the dialler's list into the inbox, and when rather not."""
