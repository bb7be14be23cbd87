"""What holds for batches, whoever asks: values and decisions, no database."""
