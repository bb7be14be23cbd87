"""The provider's side of the account: its files, and their lines against our calls."""
