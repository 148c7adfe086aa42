"""The page *System*: each process with its state, memory, restarts and health, and its logs."""
