"""Calls: from a raw record to a normalized call and its disposition."""
