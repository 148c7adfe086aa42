"""Golden examples: the data of an event of each type, one example for every version of its schema."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "examples"


def golden_examples(event_type: str) -> list[dict[str, Any]]:
    """Return the examples of an event type, oldest version first."""
    files = sorted((FOLDER / event_type).glob("*.json"), key=lambda path: int(path.stem))
    return [json.loads(path.read_text()) for path in files]
