"""Patches that rely on private parts of third-party libraries, each with its upstream issue and version."""
