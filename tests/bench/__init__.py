"""Benchmarks: each figure beside its baseline, from one run on one machine."""
