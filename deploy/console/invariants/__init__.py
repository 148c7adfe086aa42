"""The page *Invariants*: what the audit has checked last, and what contradicts it."""
