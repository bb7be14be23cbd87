"""The tasks: thin shells around what the subjects do."""
