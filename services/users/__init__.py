"""The users service: accounts, sessions, credit."""
