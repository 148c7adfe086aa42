"""Plumbing and event contracts that every service uses; business rules live in the services."""
