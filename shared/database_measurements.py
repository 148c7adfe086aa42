"""Measurements of what holds back the database: its oldest transaction and its oldest xmin.

VACUUM removes no row version that the oldest xmin may still see, so the queues' tables grow, and the relay reads rows
again until the oldest writing transaction has ended. PostgreSQL hides the times and the xmin of other roles' sessions,
such as an operator's, from a role without `pg_read_all_stats`, and a service needs no such right. Of those sessions,
only transactions that write are noticed: the oldest one in a snapshot. Every role sees slots and prepared transactions.
"""

from typing import Any

from prometheus_client import Gauge

from shared.measurements import Measurement

TRANSACTION_AGE = Gauge(
    "database_oldest_transaction_seconds",
    "Age of the oldest open transaction among the sessions that the service's role may see, 0 without one",
)
XMIN_AGE = Gauge(
    "database_oldest_xmin_transactions",
    "Transactions that were begun since the oldest xmin, by its holder: `session`, `slot` or `prepared`",
    ["holder"],
)
HOLDERS = ("session", "slot", "prepared")

# This statement's own session is left out, and so are other databases, except in the snapshot's oldest transaction.
_OLDEST = """
    SELECT json_build_object(
        'seconds', (
            SELECT extract(epoch FROM clock_timestamp() - min(xact_start)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
        ),
        'session', (
            SELECT greatest(
                (SELECT max(age(backend_xmin)) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()),
                (pg_snapshot_xmax(snapshot)::text::numeric - pg_snapshot_xmin(snapshot)::text::numeric)
            ) FROM pg_current_snapshot() AS snapshot
        ),
        'slot', (SELECT max(greatest(age(xmin), age(catalog_xmin))) FROM pg_replication_slots),
        'prepared', (SELECT max(age(transaction)) FROM pg_prepared_xacts WHERE database = current_database())
    )
"""


def _publish(found: dict[str, Any]) -> None:
    TRANSACTION_AGE.set(max(0.0, found["seconds"] or 0.0))
    for holder in HOLDERS:
        XMIN_AGE.labels(holder).set(found[holder] or 0)


OLDEST = Measurement("oldest", _OLDEST, _publish)
