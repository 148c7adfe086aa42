"""Rules that the code must keep everywhere, checked over its text, its imports and its deployment."""
