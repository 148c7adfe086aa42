"""Events between services: none lost, none applied twice, each key in order. Outbox, relay, consumer, dead letters."""
