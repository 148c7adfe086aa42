"""The machine and the servers that were measured on: without their names a figure says little."""

import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import psutil

from deploy.local.kafka_jars import KAFKA_VERSION

GIB = 1024**3


async def machine(postgres_url: str) -> dict[str, str]:
    """What to write above the figures, by name. `postgres_url` without a driver's name."""
    connection = await asyncpg.connect(postgres_url)
    postgres_version = await connection.fetchval("SHOW server_version")
    await connection.close()
    return {
        "CPU": f"{_cpu_model()}, {psutil.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / GIB:.1f} GiB",
        "system": f"{_distribution()}, {platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "PostgreSQL": f"{postgres_version}, one server with fsync",
        "Kafka": f"{KAFKA_VERSION}, one broker",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _cpu_model() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, model = line.partition(":")
            if name.strip() == "model name":
                return model.strip()
    return platform.processor() or platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.platform(terse=True)
