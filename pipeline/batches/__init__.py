"""Batches: how far each has come, its steps, what of it was set aside, and what stands still."""
