"""Three tabs in Flower, in its own process: what failed and what to do about it, how all is doing, who gets what."""
