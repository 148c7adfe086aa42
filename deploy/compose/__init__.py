"""What deploy/compose.yaml mounts or needs: the databases of a new server, secrets, signing keys."""
