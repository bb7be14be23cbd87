"""Which columns can hold a number, and which cannot."""
