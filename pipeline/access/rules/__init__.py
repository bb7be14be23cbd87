"""What a scope allows and what is masked; no database."""
