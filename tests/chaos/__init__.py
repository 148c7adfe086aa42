"""Fault injection: seeded work under seeded faults, and an oracle that checks the guarantees afterwards."""
