"""What holds for recordings, whoever asks: outcomes, pace, paths; no database."""
