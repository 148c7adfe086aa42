"""Sessions: sign-in, refresh tokens, access tokens and their keys."""
