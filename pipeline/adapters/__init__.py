"""The outside world that is not the database: the dialler's list, its HTTP API, the recordings store."""
