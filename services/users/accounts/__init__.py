"""Accounts: sign-up, profiles, and what staff see of them."""
