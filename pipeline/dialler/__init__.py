"""All that knows the Enigma dialler: its list of CDRs and its API."""
