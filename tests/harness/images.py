"""The images that deploy/compose/Dockerfile pins, which are also those of the tests."""

import re
from functools import cache
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "deploy" / "compose" / "Dockerfile"
_STAGE = re.compile(r"^FROM (?P<image>\S+) AS (?P<stage>\S+)$", re.MULTILINE)


@cache
def pinned_images() -> dict[str, str]:
    """Return the image of each server of the stack, with its tag and digest."""
    return {found["stage"]: found["image"] for found in _STAGE.finditer(DOCKERFILE.read_text())}


def without_digest(image: str) -> str:
    """Return the name and tag of an image. An image that was built here has no digest."""
    return image.partition("@")[0]
