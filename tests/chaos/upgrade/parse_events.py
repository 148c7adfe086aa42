"""Parse golden examples with the event classes of a checkout, and print what fails as JSON.

A program of its own, so that each version parses with its own code and packages. Its first argument is the folder of
the examples; its second is `all` if every type must be known. A consumer ignores a type that it does not know.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from pydantic import ValidationError

import shared.events
from shared.events.contract import EVENT_TYPES


def parse_all(examples: Path, *, every_type: bool) -> dict[str, list[str] | int]:
    """Return the number of parsed examples, and a sentence for each one that cannot be parsed."""
    for module in iter_modules(shared.events.__path__):
        import_module(f"shared.events.{module.name}")
    parsed, failures = 0, list[str]()
    for path in sorted(examples.glob("*/*.json")):
        event_type = path.parent.name
        if event_type not in EVENT_TYPES:
            failures += [f"{event_type} is unknown"] if every_type else []
            continue
        try:
            EVENT_TYPES[event_type].model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            failures.append(f"{event_type}/{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}")
        parsed += 1
    return {"parsed": parsed, "failures": failures}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(parse_all(Path(sys.argv[1]), every_type=sys.argv[2:] == ["all"])))
