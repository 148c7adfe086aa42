"""Second factors: authenticator apps, recovery codes, the second step of a sign-in, and step-up."""
