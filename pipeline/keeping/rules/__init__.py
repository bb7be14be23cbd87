"""Which rule applies to what, and which rules cannot stand beside each other."""
