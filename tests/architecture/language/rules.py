"""The rules of the language, each a function from a text to what is wrong with it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.architecture.language.texts import (
    Kind,
    Text,
    commented_texts,
    markdown_texts,
    python_texts,
    snake_case,
)
from tests.architecture.language.vocabulary import Vocabulary

RULES = ("word", "name", "constant", "verb", "opener", "line")
MAX_LINE = 120
COMMENTED = {".yaml", ".yml", ".toml", ".sh", ".conf"}
COMMENTED_NAMES = {"Makefile", "Dockerfile", ".dockerignore", "run"}
CODE_SPAN = re.compile(r"```.*?```|(?<!`)(``?)(?!`)(?:(?!\n\s*\n).)+?(?<!`)\1(?!`)", re.DOTALL)
SECTION = re.compile(r"(Raises|Source|Yields|Returns):")
"""Begins a docstring that says nothing else; a section is no sentence."""


@dataclass(frozen=True, order=True)
class Finding:
    """One place that breaks one rule."""

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: [{self.rule}] {self.message}"


def check(path: str, source: str, vocabulary: Vocabulary) -> list[Finding]:
    """Return what is wrong with a file, by line. `path` is relative to the checkout."""
    found = set(_lines(path, source))
    for text in [Text(Kind.NAME, 1, path), *_texts(path, source)]:
        if text.kind in (Kind.FUNCTION, Kind.DOCSTRING, Kind.SHOWN):
            found.update(_opening(path, text, vocabulary))
        if vocabulary.is_judged(path):
            found.update(_words(path, text, vocabulary))
    return sorted(found)


def _texts(path: str, source: str) -> Iterator[Text]:
    file = PurePosixPath(path)
    if file.suffix == ".py":
        yield from python_texts(source)
    elif file.suffix == ".md":
        yield from markdown_texts(source)
    elif file.suffix in COMMENTED or file.name in COMMENTED_NAMES:
        yield from commented_texts(source)


def _words(path: str, text: Text, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Compare prose with the words to avoid, and the identifiers in it with those of names."""
    if text.kind is Kind.NAME:
        yield from _name(path, text.line, text.text, vocabulary)
        yield from _constant(path, text, vocabulary)
        return
    prose = CODE_SPAN.sub(lambda match: re.sub(r"\S", "`", match[0]), text.text)
    for word in vocabulary.words:
        if word.applies_to(path):
            for match in word.in_prose(prose):
                said = " ".join(match[0].split())
                yield Finding(path, _line(text, match.start()), "word", f'say {word.say}, not "{said}"')
    for match in CODE_SPAN.finditer(text.text):
        for name in re.finditer(r"[\w.-]+", match[0]):
            yield from _name(path, _line(text, match.start() + name.start()), name[0], vocabulary)
    for name in re.finditer(r"\b\w*[a-z0-9]_\w+", prose):
        yield from _name(path, _line(text, name.start()), name[0], vocabulary)


def _name(path: str, line: int, name: str, vocabulary: Vocabulary) -> Iterator[Finding]:
    compared = snake_case(name)
    if vocabulary.allows(compared, path):
        return
    for word in vocabulary.words:
        if word.applies_to(path) and word.in_name(compared):
            yield Finding(path, line, "name", f"say {word.say}, not in `{name}`")


def _constant(path: str, text: Text, vocabulary: Vocabulary) -> Iterator[Finding]:
    prefix, _, rest = text.text.lstrip("_").partition("_")
    is_timeout = rest.endswith("TIMEOUT_SECONDS")  # FIRST_LINE_TIMEOUT_SECONDS bounds the wait for the first line
    allowed = is_timeout or vocabulary.allows(snake_case(text.text), path)
    if rest and prefix in vocabulary.constant_prefixes and not allowed:
        yield Finding(path, text.line, "constant", f"say {vocabulary.say_of_constants}, not `{text.text}`")


def _opening(path: str, text: Text, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Check how a docstring or a message begins: a function's with a verb, others not with one of the openers."""
    opening = re.match(r"[^\s.,;:!?]+", text.text.lstrip())
    first = opening[0] if opening else text.text[:10]
    if text.kind is Kind.FUNCTION:
        if first.lower() not in vocabulary.verbs and not SECTION.match(text.text):
            yield Finding(path, text.line, "verb", f'begin with a verb in the imperative, not "{first}"')
    elif first.lower() in vocabulary.openers and not re.match(r"at (least|most)\b", text.text, re.IGNORECASE):
        yield Finding(path, text.line, "opener", f'begin with a noun or a verb, not "{first}"')


def _lines(path: str, source: str) -> Iterator[Finding]:
    """Measure lines, without link targets and rows of tables, which can't be wrapped. ruff measures Python."""
    file = PurePosixPath(path)
    if file.suffix != ".md" and file.suffix not in COMMENTED and file.name not in COMMENTED_NAMES:
        return
    for number, line in enumerate(source.splitlines(), 1):
        visible = re.sub(r"\]\([^)]*\)|https?://\S+", "]", line) if file.suffix == ".md" else line
        if len(visible) > MAX_LINE and not (file.suffix == ".md" and line.lstrip().startswith("|")):
            yield Finding(path, number, "line", f"{len(visible)} characters; {MAX_LINE} are readable")


def _line(text: Text, offset: int) -> int:
    return text.line + text.text.count("\n", 0, offset)
