"""What holds for calls, whoever asks: reading a record, numbers, dispositions; no database."""
