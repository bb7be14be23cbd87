"""What holds for failures, whoever asks; no database."""
