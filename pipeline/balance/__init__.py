"""The balance: every record is in one place, every call has one net charge."""
