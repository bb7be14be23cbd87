"""Who may ask for what, how numbers are kept from who may not see them; tokens."""
