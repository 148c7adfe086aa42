"""HTTP behaviour shared by all services: problems, authentication, idempotency, pagination, rate limits."""
