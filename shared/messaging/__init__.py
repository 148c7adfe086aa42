"""No event lost, none applied twice, each key in order: outbox, relay, inbox, consumer, dead letters."""
