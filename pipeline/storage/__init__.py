"""PostgreSQL: tables, and one module a thing stored in them."""
