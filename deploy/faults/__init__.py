"""Faults that are injected into the system of `make run`, on purpose: the back end of the page *Break it*."""
