"""HTTP behaviour that every service shares: errors, authentication, idempotency, pages, limits."""
