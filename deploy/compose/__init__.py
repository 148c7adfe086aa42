"""Scripts of deploy/compose.yaml: they make the databases, the passwords and the signing keys."""
