"""`python -m tests.images`: build the stand-in images on the Docker engine that testcontainers uses."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from docker.errors import BuildError, DockerException
from testcontainers.core.docker_client import DockerClient

from deploy.local.process import LocalError
from tests.harness.images import without_digest
from tests.harness.servers import IMAGES
from tests.images.contexts import CONTEXTS

BUILD_TIMEOUT_SECONDS = 600
PREFIX = "orderly-tests/"
"""The value for TESTCONTAINERS_HUB_IMAGE_NAME_PREFIX, which testcontainers puts before each image's name."""


def build(engine: DockerClient, name: str, assemble: Callable[[Path], None]) -> str:
    """Build and tag one image. Return a sentence about it."""
    started = time.monotonic()
    with TemporaryDirectory(prefix="orderly-image-") as folder:
        assemble(Path(folder))
        image, _log = engine.client.images.build(path=folder, tag=PREFIX + name, rm=True, forcerm=True)
    megabytes = image.attrs["Size"] / 1_000_000
    return f"{PREFIX}{name}: {megabytes:.0f} MB, built in {time.monotonic() - started:.1f} s"


def main() -> None:
    """Build every image. Exit with a message if one cannot be built."""
    try:
        engine = DockerClient(timeout=BUILD_TIMEOUT_SECONDS)
        for kind, assemble in CONTEXTS.items():
            print(build(engine, without_digest(IMAGES[kind]), assemble))  # noqa: T201
    except BuildError as error:
        sys.exit(f"{error}\n" + "".join(line.get("stream", "") for line in error.build_log))
    except (DockerException, LocalError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
