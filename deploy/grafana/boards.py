"""The boards. docs/metrics.md says what each metric means, and which alert watches it."""

from deploy.grafana.panels import Board, Panel, per_second, quantile

_SERVICES = "users|orders|notifications"
_NO_PROBES = 'job=~"$job", route!~"/health.*|/metrics"'

SERVICE = Board(
    "Service",
    _SERVICES,
    {
        "Requests": (
            Panel(
                "Requests per second, by route",
                {"{{job}} {{route}}": per_second("http_requests_total", by="job, route", where=_NO_PROBES)},
                unit="reqps",
            ),
            Panel(
                "Errors, by route",
                {
                    "{{job}} {{route}}": per_second(
                        "http_requests_total", by="job, route", where=f'{_NO_PROBES}, status_class="5xx"'
                    )
                },
                unit="reqps",
                description="Responses with a 5xx. Alert: ErrorBudgetBurnsFast.",
            ),
            Panel(
                "Duration, 95th percentile, by route",
                {
                    "{{job}} {{route}}": quantile(
                        0.95, "http_request_duration_seconds", by="job, route", where=_NO_PROBES
                    )
                },
                unit="s",
                has_exemplars=True,
            ),
        ),
        "Processes": (
            Panel("Answers scrapes", {"{{job}} {{instance}}": 'up{job=~"$job"}'}, description="Alert: ServiceDown."),
            Panel(
                "Age of heartbeats",
                {"{{instance}} {{loop}}": 'time() - loop_heartbeat_timestamp_seconds{job=~"$job"}'},
                unit="s",
                description="Alerts: LoopStuck above 60 s, ConsumerStopped above 30 s.",
            ),
            Panel(
                "Delay of the event loop, 99th percentile",
                {"{{instance}}": quantile(0.99, "event_loop_lag_seconds", by="instance")},
                unit="s",
            ),
            Panel("Memory", {"{{instance}}": 'process_resident_memory_bytes{job=~"$job"}'}, unit="bytes"),
            Panel("Processor time", {"{{instance}}": 'rate(process_cpu_seconds_total{job=~"$job"}[$__rate_interval])'}),
            Panel("File descriptors", {"{{instance}}": 'process_open_fds{job=~"$job"}'}),
        ),
        "Database": (
            Panel(
                "Connections",
                {
                    "in use, {{instance}}": 'database_pool_in_use_connections{job=~"$job"}',
                    "waiting, {{instance}}": 'database_pool_waiting{job=~"$job"}',
                    "at most, {{instance}}": 'database_pool_max_connections{job=~"$job"}',
                },
            ),
            Panel(
                "Oldest transaction",
                {"{{job}}": 'max by (job) (database_oldest_transaction_seconds{job=~"$job"})'},
                unit="s",
            ),
            Panel(
                "Transactions since the oldest xmin",
                {"{{job}} {{holder}}": 'max by (job, holder) (database_oldest_xmin_transactions{job=~"$job"})'},
            ),
        ),
        "Jobs": (
            Panel("Jobs", {"{{job}} {{status}}": 'max by (job, status) (job_queue_jobs{job=~"$job"})'}),
            Panel(
                "Oldest job that is due",
                {"{{job}}": 'max by (job) (job_queue_oldest_due_seconds{job=~"$job"})'},
                unit="s",
            ),
            Panel(
                "Failed runs of scheduled tasks",
                {"{{job}} {{task}}": per_second("scheduled_task_failures_total", by="job, task")},
            ),
        ),
    },
)

MESSAGING = Board(
    "Messaging",
    _SERVICES,
    {
        "Outbox and relay": (
            Panel("Events that wait", {"{{job}}": 'max by (job) (outbox_waiting_events{job=~"$job"})'}),
            Panel(
                "Oldest event that waits",
                {"{{job}}": 'max by (job) (outbox_oldest_event_seconds{job=~"$job"})'},
                unit="s",
                description="Alert: OutboxStuck above 60 s.",
            ),
            Panel("Published per second", {"{{job}} {{topic}}": per_second("relay_published_total", by="job, topic")}),
            Panel(
                "From event to Kafka",
                {
                    "median, {{job}}": quantile(0.5, "relay_delay_seconds", by="job"),
                    "99 %, {{job}}": quantile(0.99, "relay_delay_seconds", by="job"),
                },
                unit="s",
                has_exemplars=True,
            ),
            Panel("Leaders", {"{{job}}": 'sum by (job, shard) (relay_leader{job=~"$job"})'}),
            Panel("Epoch", {"{{job}}": 'max by (job, shard) (relay_epoch{job=~"$job"})'}),
        ),
        "Consumers": (
            Panel("Lag", {"{{consumer}}": 'sum by (consumer) (consumer_lag_events{job=~"$job"})'}),
            Panel(
                "Applied per second",
                {"{{consumer}} {{type}}": per_second("consumer_applied_total", by="consumer, type")},
            ),
            Panel(
                "From event to its effects",
                {
                    "median, {{consumer}}": quantile(0.5, "consumer_end_to_end_seconds", by="consumer"),
                    "99 %, {{consumer}}": quantile(0.99, "consumer_end_to_end_seconds", by="consumer"),
                },
                unit="s",
                has_exemplars=True,
            ),
            Panel(
                "Duplicates and retries per second",
                {
                    "duplicates, {{consumer}}": per_second("consumer_duplicates_total", by="consumer"),
                    "retries, {{consumer}}": per_second("consumer_retries_total", by="consumer"),
                },
            ),
            Panel(
                "Gaps, rebalances and replaced consumers",
                {
                    "gaps, {{consumer}}": per_second("consumer_gaps_total", by="consumer"),
                    "rebalances, {{consumer}}": per_second("consumer_rebalances_total", by="consumer"),
                    "replaced, {{consumer}}": per_second("consumer_replaced_total", by="consumer"),
                },
            ),
            Panel("Partitions", {"{{consumer}} {{instance}}": 'consumer_assigned_partitions{job=~"$job"}'}),
        ),
        "Dead letters": (
            Panel(
                "Waiting, by reason",
                {"{{consumer}} {{reason}}": 'max by (consumer, reason) (dead_letters_unresolved{job=~"$job"})'},
            ),
            Panel("Blocked keys", {"{{consumer}}": 'max by (consumer) (dead_letters_blocked_keys{job=~"$job"})'}),
            Panel(
                "New per second",
                {"{{consumer}} {{reason}}": per_second("consumer_dead_letters_total", by="consumer, reason")},
            ),
        ),
    },
)

_ORDER_EVENTS = 'consumer=~"users.orders|orders.users"'

SAGA = Board(
    "Orders",
    "orders",
    {
        "Decisions": (
            Panel("Per second", {"{{outcome}}": per_second("orders_decision_seconds_count", by="outcome")}),
            Panel(
                "From order to decision",
                {
                    "median": quantile(0.5, "orders_decision_seconds"),
                    "95 %": quantile(0.95, "orders_decision_seconds"),
                    "99 %": quantile(0.99, "orders_decision_seconds"),
                },
                unit="s",
                description="Objective: 99 % within 2.5 s. Alert: OrderBudgetBurnsFast.",
                has_exemplars=True,
            ),
            Panel(
                "Share of orders that are decided late",
                {"1 h": "job:orders_late:ratio_rate1h", "6 h": "job:orders_late:ratio_rate6h"},
                unit="percentunit",
            ),
            Panel(
                "Pending past the deadline",
                {"orders": "max(orders_overdue)"},
                description="Alert: OrdersStuck.",
            ),
            Panel("Oldest of them", {"since its deadline": "max(orders_oldest_overdue_seconds)"}, unit="s"),
            Panel(
                "Failed cancellations per second",
                {"orders": per_second("orders_cancellation_failures_total", by="job")},
            ),
        ),
        "Hops": (
            Panel(
                "Outbox to Kafka, 99th percentile",
                {"{{job}}": quantile(0.99, "relay_delay_seconds", by="job", where='job=~"users|orders"')},
                unit="s",
                has_exemplars=True,
            ),
            Panel(
                "Event to effects, 99th percentile",
                {"{{consumer}}": quantile(0.99, "consumer_end_to_end_seconds", by="consumer", where=_ORDER_EVENTS)},
                unit="s",
                has_exemplars=True,
            ),
            Panel("Lag", {"{{consumer}}": f"sum by (consumer) (consumer_lag_events{{{_ORDER_EVENTS}}})"}),
        ),
        "Invariants": (
            Panel("Findings of the audit", {"{{invariant}}": "audit_violations > 0"}, description="Empty: all hold."),
            Panel("Since the last audit", {"audit": "time() - audit_completed_timestamp_seconds"}, unit="s"),
            Panel("Requests of the gateway", {"{{code}}": "sum by (code) (rate(traefik_service_requests_total[5m]))"}),
        ),
    },
)

DELIVERIES = Board(
    "Deliveries",
    "notifications",
    {
        "Mails": (
            Panel(
                "Attempts per second",
                {"{{channel}} {{outcome}}": per_second("notifications_attempts_total", by="channel, outcome")},
            ),
            Panel(
                "Duration of an attempt",
                {
                    "median, {{channel}}": quantile(0.5, "notifications_attempt_seconds", by="channel"),
                    "99 %, {{channel}}": quantile(0.99, "notifications_attempt_seconds", by="channel"),
                },
                unit="s",
                has_exemplars=True,
            ),
            Panel("Due", {"deliveries": "max(notifications_due_deliveries)"}),
            Panel(
                "Oldest that is due",
                {"delivery": "max(notifications_oldest_due_seconds)"},
                unit="s",
                description="Alert: DeliveriesStuck above 60 s.",
            ),
            Panel("Users whose data are sealed", {"{{job}}": "max by (job) (sealed_contacts)"}),
            Panel("Oldest of them", {"{{job}}": "max by (job) (sealed_contacts_oldest_seconds)"}, unit="s"),
        ),
        "Before the mail": (
            Panel(
                "Event to notification, 99th percentile",
                {"{{consumer}}": quantile(0.99, "consumer_end_to_end_seconds", by="consumer")},
                unit="s",
                has_exemplars=True,
            ),
            Panel("Lag", {"{{consumer}}": 'sum by (consumer) (consumer_lag_events{job=~"$job"})'}),
            Panel("Held jobs", {"{{job}}": 'max by (job) (job_queue_jobs{job=~"$job", status="failed"})'}),
        ),
        "Erasures and exports": (
            Panel("Pending", {"erasures": "max(erasures_pending)", "exports": "max(data_exports_pending)"}),
            Panel("Oldest erasure", {"requested": "max(erasures_oldest_pending_seconds)"}, unit="s"),
            Panel("Oldest export", {"requested": "max(data_exports_oldest_pending_seconds)"}, unit="s"),
        ),
    },
)

BOARDS = {"service": SERVICE, "messaging": MESSAGING, "saga": SAGA, "deliveries": DELIVERIES}
"""The boards by the names of their files."""
