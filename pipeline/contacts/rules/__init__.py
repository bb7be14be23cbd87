"""What the calls of a contact come to: values and decisions, no database."""
