"""The security record: an append-only list of sign-ins, changes of accounts, and erasures."""
