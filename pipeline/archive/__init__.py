"""Calls as Parquet, a month a folder: written, verified, restored, looked up."""
