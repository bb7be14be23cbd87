"""What counts as missing, and what does not: values and decisions, no database."""
