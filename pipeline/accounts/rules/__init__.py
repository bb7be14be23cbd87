"""What decides about accounts, without a database or a clock."""
