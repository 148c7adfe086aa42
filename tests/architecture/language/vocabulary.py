"""Reads vocabulary.toml and verbs.txt."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Word:
    """A term to say, and what it replaces."""

    say: str
    names: str = ""
    prose: str = ""
    exceptions: tuple[str, ...] = ()
    only: tuple[str, ...] = ("*",)
    skip: tuple[str, ...] = ()

    def applies_to(self, path: str) -> bool:
        """Return whether the word is looked for in this file."""
        return _matches(path, self.only) and not _matches(path, self.skip)

    def in_name(self, name: str) -> bool:
        """Return whether an identifier in snake_case has the word."""
        return bool(self.names) and re.search(rf"(?:^|_)(?:{self.names})(?:_|$)", name) is not None

    def in_prose(self, text: str) -> Iterator[re.Match[str]]:
        """Find the word in running text, outside of its exceptions."""
        if not self.prose:
            return
        for exception in self.exceptions:
            text = _compiled(exception).sub(lambda match: "\N{MIDDLE DOT}" * len(match[0]), text)
        yield from _compiled(self.prose).finditer(text)


@dataclass(frozen=True)
class Allowed:
    """An identifier that has an ordinary meaning in some files."""

    name: str
    path: str


@dataclass(frozen=True)
class Vocabulary:
    """All that the rules compare with."""

    words: tuple[Word, ...]
    say_of_constants: str
    constant_prefixes: tuple[str, ...]
    openers: frozenset[str]
    verbs: frozenset[str]
    allowed: tuple[Allowed, ...] = ()
    skipped: tuple[str, ...] = ()

    def is_judged(self, path: str) -> bool:
        """Return whether a file's words are compared with the vocabulary."""
        return not _matches(path, self.skipped)

    def allows(self, name: str, path: str) -> bool:
        """Return whether an identifier in snake_case has an ordinary meaning in this file."""
        return any(fnmatchcase(name, entry.name) and fnmatchcase(path, entry.path) for entry in self.allowed)


def load() -> Vocabulary:
    """Read the vocabulary. Raises: KeyError if an entry of vocabulary.toml lacks a field."""
    data = tomllib.loads((FOLDER / "vocabulary.toml").read_text())
    return Vocabulary(
        words=tuple(_word(entry) for entry in data["word"]),
        say_of_constants=data["constants"]["say"],
        constant_prefixes=tuple(data["constants"]["not"]),
        openers=frozenset(data["openers"]["not"]),
        verbs=frozenset((FOLDER / "verbs.txt").read_text().split()),
        allowed=tuple(Allowed(entry["name"], entry["path"]) for entry in data["allowed"]),
        skipped=tuple(data["skipped"]),
    )


def _word(entry: dict[str, Any]) -> Word:
    return Word(
        say=entry["say"],
        names=_alternatives(entry.get("names", "")),
        prose=_alternatives(entry.get("prose", "")),
        exceptions=tuple(entry.get("except", ())),
        only=tuple(entry.get("only", ("*",))),
        skip=tuple(entry.get("skip", ())),
    )


def _alternatives(patterns: str | list[str]) -> str:
    return patterns if isinstance(patterns, str) else "|".join(patterns)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Match whole words; a space matches any white space, a line break and the next line's `#` among them."""
    spaced = pattern.replace(" ", r"\s+(?:#\s+)?")
    return re.compile(rf"(?<![\w-])(?:{spaced})(?![\w])", re.IGNORECASE)


def _matches(path: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, glob) for glob in globs)
