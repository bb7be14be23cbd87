"""What each process shows of itself: signs of life, counts for Prometheus, the states of the database."""
