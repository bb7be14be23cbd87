"""The check-up: what is looked at, and what to do about what is found."""
