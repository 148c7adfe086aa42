"""The page /metrics of the scheduler: base backups, the archive's lag, failures."""

import math
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from deploy.backup.archive import BaseBackup
from deploy.backup.lag import LagClock, Measurement


class BackupMetrics:
    """The metrics of each service. The scheduler sets them; a scrape reads neither the archive nor a database.

    The archive's disk is the exception: the system knows how full it is without reading it.
    """

    def __init__(self, services: list[str], *, archive: Path) -> None:
        """Export every service from the start on: one without a base backup is infinitely old."""
        self.registry = CollectorRegistry()
        labels = ["service"]
        self._newest: dict[str, BaseBackup | None] = dict.fromkeys(services)
        self._lags = {service: LagClock() for service in services}
        self._connected = Gauge(
            "wal_archive_connected", "1 while the receiver streams from the server", labels, registry=self.registry
        )
        self._lost = Gauge(
            "wal_archive_slot_lost",
            "1 if the server has removed WAL that is not archived",
            labels,
            registry=self.registry,
        )
        self._lag_bytes = Gauge("wal_archive_lag_bytes", "WAL that is not archived", labels, registry=self.registry)
        self.failures = Counter(
            "backup_failures",
            "Failed base backups, verifications and purges",
            [*labels, "step"],
            registry=self.registry,
        )
        for service in services:
            self._connected.labels(service).set(0)
            self._lost.labels(service).set(0)
            for step in ("backup", "verify", "purge", "measure"):
                self.failures.labels(service, step)
        self.registry.register(_Ages(self._newest, self._lags))
        self.registry.register(_Disk(archive))

    def newest(self, service: str, backup: BaseBackup | None) -> None:
        """Tell the newest verified base backup of the current incarnation."""
        self._newest[service] = backup

    def measured(self, service: str, measurement: Measurement | None) -> None:
        """Tell the archive's position; None if the server did not answer."""
        self._connected.labels(service).set(measurement is not None and measurement.is_connected)
        if measurement is not None:
            self._lost.labels(service).set(measurement.is_lost)
            self._lags[service].add(measurement)
            if measurement.lag_bytes is not None:
                self._lag_bytes.labels(service).set(measurement.lag_bytes)


class _Ages(Collector):
    """Compute ages at the scrape, so that they grow even if the scheduler hangs."""

    def __init__(self, newest: dict[str, BaseBackup | None], lags: dict[str, LagClock]) -> None:
        self._newest = newest
        self._lags = lags

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = datetime.now(UTC)
        age = GaugeMetricFamily("backup_age_seconds", "Age of the newest verified base backup", labels=["service"])
        size = GaugeMetricFamily("backup_size_bytes", "Size of the newest verified base backup", labels=["service"])
        verified = GaugeMetricFamily(
            "backup_verified_timestamp_seconds", "Last successful verification of it", labels=["service"]
        )
        for service, backup in self._newest.items():
            seconds = (now - backup.record.finished_at).total_seconds() if backup else math.inf
            age.add_metric([service], seconds)
            if backup:
                size.add_metric([service], backup.record.size_bytes)
                verified.add_metric([service], backup.record.verified_at.timestamp())
        lag = GaugeMetricFamily(
            "wal_archive_lag_seconds", "Age of the oldest WAL that is not archived", labels=["service"]
        )
        for service, clock in self._lags.items():
            lag.add_metric([service], clock.seconds)
        yield from (age, size, verified, lag)


class _Disk(Collector):
    """Show how full the archive's disk is. While the folder cannot be read, its metrics are absent."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            disk = shutil.disk_usage(self._archive)
        except OSError:
            return
        yield GaugeMetricFamily("archive_disk_size_bytes", "Size of the disk that has the archive", disk.total)
        yield GaugeMetricFamily("archive_disk_free_bytes", "Bytes of it that are free", disk.free)
