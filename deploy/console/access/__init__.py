"""Access to the console: for a signed-in admin, or under `make run` for everybody on this machine."""
