"""For how long what is kept, and what must not go: rules by dialler and campaign, and holds."""
