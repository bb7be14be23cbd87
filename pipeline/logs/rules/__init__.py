"""What log lines and terminals may show: no secret, no whole number, nothing invisible."""
