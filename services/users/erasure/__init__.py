"""Erasure: a user's personal data are erased in every service, and a receipt stays."""
