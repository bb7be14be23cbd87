"""Billing: tariffs, what a call costs, the ledger, and correcting it."""
