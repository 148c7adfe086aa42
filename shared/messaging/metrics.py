"""Prometheus metrics of relay and consumers."""

from prometheus_client import Counter, Gauge, Histogram

from shared.patches.prometheus_histogram import BatchHistogram

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

PUBLISHED = Counter("relay_published_total", "Events acknowledged by Kafka", ["topic"])
PRODUCER_RESETS = Counter("relay_producer_resets_total", "Producers replaced after an error")
RELAY_LEADER = Gauge("relay_leader", "1 while this process leads the shard", ["shard"])
RELAY_EPOCH = Gauge("relay_epoch", "Epoch of the lease that this process holds", ["shard"])
COMMIT_TO_KAFKA = BatchHistogram(
    "relay_delay_seconds", "Delay from the event's time to Kafka's acknowledgement", buckets=LATENCY_BUCKETS
)

APPLIED = Counter("consumer_applied_total", "Events applied", ["consumer", "type"])
DUPLICATES = Counter("consumer_duplicates_total", "Events that had been applied before", ["consumer"])
DEAD_LETTERS = Counter("consumer_dead_letters_total", "Events stored as dead letters", ["consumer", "reason"])
RETRIES = Counter("consumer_retries_total", "Transactions retried", ["consumer"])
GAPS = Counter(
    "consumer_gaps_total", "Events whose key's sequence jumped: the events before them were not received", ["consumer"]
)
REBALANCES = Counter(
    "consumer_rebalances_total", "Rebalances of the group that this process took part in", ["consumer"]
)
SHARE_SECONDS = Histogram(
    "consumer_share_seconds",
    "Time to apply a share of a fetch: one or more partitions, batch by batch",
    ["consumer"],
    buckets=LATENCY_BUCKETS,
)
END_TO_END = BatchHistogram(
    "consumer_end_to_end_seconds",
    "Delay from the event's time to the commit of its effects",
    ["consumer"],
    buckets=LATENCY_BUCKETS,
)
LAG = Gauge(
    "consumer_lag_events",
    "Records in this process's partitions that are not applied, as of the last fetch",
    ["consumer"],
)
ASSIGNED_PARTITIONS = Gauge("consumer_assigned_partitions", "Partitions that this process consumes", ["consumer"])
REPLACED = Counter("consumer_replaced_total", "Kafka consumers replaced because one of their tasks ended", ["consumer"])


def begin_at_zero(consumer: str) -> None:
    """Export a consumer's counters from its start on: Prometheus sees no increase in a counter that begins with 1."""
    for counter in (DUPLICATES, GAPS, REBALANCES, REPLACED, RETRIES):
        counter.labels(consumer)
