"""Event contracts: the events that services publish, with one module per publishing service."""
