"""The page *Logs*: the structured logs of the services and, under `make run`, the log files of all processes."""
