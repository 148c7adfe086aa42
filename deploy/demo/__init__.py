"""Real invoices placed as orders, and what must be true afterwards."""
