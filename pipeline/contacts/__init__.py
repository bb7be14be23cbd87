"""Contacts: whether a person was reached, by all the calls that name them."""
