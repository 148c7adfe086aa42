"""Stand-in Docker images of the test servers, built from the installed servers without a registry."""
