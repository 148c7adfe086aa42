"""Download Apache Kafka's jars from Maven Central, once per user: they are cached outside of the checkout.

Only the standard library at import: `make doctor` imports it before there is a .venv.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from deploy.local.process import LocalError, run_to_end

KAFKA_VERSION = "4.3.1"
# Resolved separately: together, the bill of materials of the second would pull Kafka's own jars to older versions.
KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"


def cache_folder() -> Path:
    """Return the user's folder for files that can be downloaded or made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orderly"


def jars_folder() -> Path:
    """Return the folder of the jars. It exists only if it is complete."""
    return cache_folder() / f"kafka-{KAFKA_VERSION}"


async def ensure_jars(log: Path) -> None:
    """Download the jars unless they are cached. Raises: LocalError if Maven Central cannot be reached."""
    if jars_folder().is_dir():
        return
    # In another process: the resolver is synchronous and would block the event loop for ten seconds.
    await run_to_end([sys.executable, "-m", "deploy.local.kafka_jars"], log=log, timeout_seconds=300)
    if not jars_folder().is_dir():
        raise LocalError(f"Apache Kafka's jars could not be downloaded; see {log}")


def fetch_jars() -> None:
    """Resolve and download the jars unless they are cached. The folder gets its name when it is complete."""
    if jars_folder().is_dir():
        return
    cache_folder().mkdir(parents=True, exist_ok=True)
    import jgo  # noqa: PLC0415 - slow to import, and needed once per machine

    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="fetching-") as work:
        jars = Path(work, "jars")
        jars.mkdir()
        kafka = jgo.build(KAFKA, cache_dir=Path(work, "jgo")).path
        binding = jgo.build(LOG_BINDING, cache_dir=Path(work, "jgo")).path
        # jgo puts modular jars and plain ones into two folders.
        for jar in [*kafka.glob("*/*.jar"), *binding.glob("*/log4j-slf4j-impl-*.jar")]:
            shutil.copyfile(jar, jars / jar.name)
        if not jars_folder().exists():
            jars.rename(jars_folder())


if __name__ == "__main__":
    fetch_jars()
