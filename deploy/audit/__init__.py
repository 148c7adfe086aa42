"""The audit: reads the databases of the three services, and Kafka, and finds what contradicts their invariants."""
