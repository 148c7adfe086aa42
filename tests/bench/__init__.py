"""Benchmarks: each value is measured beside its baseline, in one run on one machine."""
