"""The page *Break it*, under `make run` only: faults at the press of a button, and deliberately wrong builds."""
