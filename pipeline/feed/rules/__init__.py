"""Decisions about events and subscribers; no database, no clock."""
