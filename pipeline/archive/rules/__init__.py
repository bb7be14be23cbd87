"""What the archive is made of and when it can be believed; pure."""
