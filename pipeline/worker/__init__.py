"""What this project adds to Celery's worker: messages refused, life shown, events sent together."""
