"""What a call is and what it costs: pure rules, with no input, output, clock or settings."""
