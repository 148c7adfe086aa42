"""A stand-in for the `docker` program: it answers from a file, and records the commands that it gets."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = """#!{python}
import json, pathlib, sys
folder, arguments = pathlib.Path({folder!r}), sys.argv[1:]
with (folder / "commands").open("a") as commands:
    print(json.dumps(arguments), file=commands)
for words, answer in json.loads((folder / "answers.json").read_text()):
    if all(word in arguments for word in words):
        print(answer["prints"], end="")
        sys.exit(answer["exits"])
"""


@dataclass
class Docker:
    """A `docker` in `folder`, an engine and a compose plugin that are new enough."""

    folder: Path
    _answers: list[tuple[list[str], dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        program = self.folder / "docker"
        program.write_text(PROGRAM.format(python=sys.executable, folder=str(self.folder)))
        program.chmod(0o755)
        self.answer("compose", "version", prints="2.26.1\n")
        self.answer("version", prints="25.0.3\n")

    def answer(self, *words: str, prints: str = "", exits: int = 0) -> None:
        """Answer a command that contains these words. The latest answer that fits is given; nothing by default."""
        self._answers.insert(0, (list(words), {"prints": prints, "exits": exits}))
        (self.folder / "answers.json").write_text(json.dumps(self._answers))

    def commands(self) -> list[list[str]]:
        """Return the arguments of each call."""
        recorded = self.folder / "commands"
        return [json.loads(line) for line in recorded.read_text().splitlines()] if recorded.exists() else []
