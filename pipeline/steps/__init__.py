"""The steps of the flow: lock, decide, write, commit. They know the database and the domain, and no Celery."""
