"""Passkeys: WebAuthn credentials that replace the password, or stand beside it as a second factor."""
