"""Two tabs in Flower, in its own process: what failed and what can be done about it, and how the pipeline is doing."""
