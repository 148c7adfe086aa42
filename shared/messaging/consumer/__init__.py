"""Consuming: a batch of events is applied in one transaction, at most once each."""
