"""Looking calls up: everything that is known about one."""
