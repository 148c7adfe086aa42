"""`python -m tests.architecture.language [path ...]`: print what is wrong, and fail if anything is."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from tests.architecture.language.rules import RULES, Finding, check
from tests.architecture.language.vocabulary import load
from tests.architecture.source import kept_files


def main(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files and folders to check. Default: the current folder.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Rule to apply, any of {', '.join(RULES)}; may be repeated.")
    ] = None,
) -> None:
    """Check words, names, docstrings and line lengths, from the root of the repository."""
    found = [finding for finding in findings_under(Path.cwd(), paths or ["."]) if finding.rule in (only or RULES)]
    for finding in found:
        print(finding)  # noqa: T201
    if found:
        counts = ", ".join(f"{count} {rule}" for rule, count in Counter(finding.rule for finding in found).items())
        sys.exit(f"{len(found)} finding(s): {counts}. docs/style.md and docs/glossary.md say what to write.")


def findings_under(root: Path, paths: Sequence[str]) -> Iterator[Finding]:
    """Check the text files that git keeps or would keep."""
    vocabulary = load()
    for path in kept_files(root, *paths):
        try:
            source = (root / path).read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # an image; deleted, and the deletion not committed yet
        yield from check(path, source, vocabulary)


if __name__ == "__main__":
    typer.run(main)
