"""Breaking the system on purpose, and what has to hold afterwards."""
