"""The stack of deploy/compose.yaml: `make up` and its relatives, and the scripts of its containers."""
