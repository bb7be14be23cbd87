"""How a provider's file is read, cell by cell: values and decisions, no database and no file."""
