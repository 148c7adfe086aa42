"""Recovery: verify and change an e-mail address, reset and change a password, purge what nobody has verified."""
