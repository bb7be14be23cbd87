"""A person out of everything that holds their number, and the books unchanged."""
