"""The tables of records as ranges, a month each: made ahead, moved to, and dropped as a whole."""
