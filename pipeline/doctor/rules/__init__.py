"""What is right and what is wrong with the surroundings: facts in, sentences with advice out; nothing here looks."""
