"""What holds for money, whoever asks: tariff files, rates, charges; no database."""
