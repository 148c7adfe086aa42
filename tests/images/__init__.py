"""Stand-in Docker images of the test servers, built from the installed packages, without a registry."""
