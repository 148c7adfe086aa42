"""The console: what the system does, why an order is stuck, and operations that help, as pages and as an API."""
