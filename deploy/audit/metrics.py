"""The metrics of the audit. docs/metrics.md describes them."""

from collections import Counter as Counts

from prometheus_client import CollectorRegistry, Counter, Gauge

from deploy.audit.databases import SERVICES
from deploy.audit.findings import Invariant, Kind
from deploy.audit.runs import Outcome


class AuditMetrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._violations = Gauge(
            "audit_violations", "Findings that nobody has accepted", ["invariant"], registry=self.registry
        )
        self._completed_at = Gauge(
            "audit_completed_timestamp_seconds", "End of the last completed run", registry=self.registry
        )
        self._seconds = Gauge("audit_run_seconds", "Duration of the last completed run", registry=self.registry)
        self._checked = Gauge("audit_checked_keys", "Keys that the last run checked", ["kind"], registry=self.registry)
        self._open = Gauge("audit_open_keys", "Keys that are checked again in the next run", registry=self.registry)
        self._age = Gauge(
            "audit_watermark_age_seconds",
            "Age of the last sent event that was read, 0 if no settled one is left",
            ["service"],
            registry=self.registry,
        )
        self._skipped = Gauge("audit_skipped_checks", "Checks that the last run left out", registry=self.registry)
        self.failures = Counter("audit_failed_runs", "Runs that ended with an error", registry=self.registry)

    def publish(self, outcome: Outcome) -> None:
        """Set the metrics to the outcome of a completed run."""
        violations = Counts(violation.invariant for violation in outcome.reported)
        for invariant in Invariant:
            self._violations.labels(invariant.label).set(violations[invariant])
        for kind in Kind:
            self._checked.labels(kind.value).set(outcome.checked[kind])
        for service in SERVICES:
            self._age.labels(service).set(outcome.watermark_age_seconds.get(service, 0))
        self._seconds.set(outcome.seconds)
        self._open.set(outcome.open)
        self._skipped.set(len(outcome.skipped))
        self._completed_at.set_to_current_time()
