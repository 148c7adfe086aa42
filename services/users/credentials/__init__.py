"""Credentials: passwords, and the throttle against guessing them."""
