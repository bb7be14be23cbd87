"""Failures: found, understood, retried, edited, accepted or discarded by a person."""
