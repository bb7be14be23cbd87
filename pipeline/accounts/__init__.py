"""The provider's side of the account: the files a provider bills by, as they came and as they are read."""
