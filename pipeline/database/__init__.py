"""The database: connections, tables, roles, migrations, and who did what."""
