"""Logs: one line a task, numbers masked, secrets never."""
