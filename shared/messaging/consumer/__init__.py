"""Consuming: events are applied in batches, one transaction per batch, each event at most once."""
