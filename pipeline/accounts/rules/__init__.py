"""How a provider's file is read and what its lines are held against: no database, no file, no clock."""
