"""Health and metrics of the services in the last minutes, as the console has observed them, in memory."""
