"""The provider's side of the account: the files a provider bills by, and their lines against our calls."""
