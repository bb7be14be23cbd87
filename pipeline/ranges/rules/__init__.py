"""What stands against dropping a range, in words; pure."""
