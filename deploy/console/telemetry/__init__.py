"""Traces and logs that the services send by OTLP: the receiver, and the bounded store of what it received."""
