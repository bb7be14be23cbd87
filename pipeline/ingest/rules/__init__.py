"""When to claim, how much, and when to stop; no database, no Redis."""
