"""The demo: places real invoices as orders, and checks invariants across the three services."""
