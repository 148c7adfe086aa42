"""The golden examples: what an event of each type looks like, one for every version of its schema."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "examples"


def golden_examples(event_type: str) -> list[dict[str, Any]]:
    """The data of one event per version, the oldest first; empty for a type that has none."""
    files = sorted((FOLDER / event_type).glob("*.json"), key=lambda path: int(path.stem))
    return [json.loads(path.read_text()) for path in files]
