"""The HTTP API: its shell, which translates requests and hands them in."""
