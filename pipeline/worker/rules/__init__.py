"""What is known of a broker without asking one."""
