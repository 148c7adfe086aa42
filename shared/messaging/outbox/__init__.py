"""The producing side: events are recorded in the outbox, and the relay publishes them to Kafka."""
