"""Extraction of what people read in a file: docstrings, comments, messages, names and documents, each with its line."""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

SHOWN = frozenset({"description", "epilog", "help", "short_help", "summary", "title", "detail"})
"""Keyword arguments whose text a client or an operator reads."""
READ_AS_NOUNS = frozenset({"property", "cached_property", "fixture", "hybrid_property", "computed_field"})
"""Decorators of functions that stand for a value, whose docstrings may be noun phrases."""
LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "bind", "bind_contextvars"})


class Kind(Enum):
    """The kind of a text decides the rules that it has to keep."""

    NAME = "name"
    PROSE = "prose"
    FUNCTION = "docstring of a function"
    DOCSTRING = "docstring"
    SHOWN = "shown text"


@dataclass(frozen=True)
class Text:
    """One piece of text."""

    kind: Kind
    line: int
    text: str


def python_texts(source: str) -> Iterator[Text]:
    """Yield the names that a module defines, its docstrings, string literals and comments."""
    tree = ast.parse(source)
    docstrings = {id(found) for node in ast.walk(tree) if (found := _bare_string(node))}
    for node in ast.walk(tree):
        yield from _docstring(node)
        yield from _names(node)
        if isinstance(node, ast.Call):
            yield from _of_call(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            is_name = not re.search(r"\s", node.value)
            yield Text(Kind.NAME if is_name else Kind.PROSE, node.lineno, node.value)
    yield from _comments(source)


def commented_texts(source: str) -> Iterator[Text]:
    """Yield the comments of a format where `#` begins one: YAML, TOML, make, shell, Dockerfile."""
    for number, line in enumerate(source.splitlines(), 1):
        if match := re.search(r"(?:^|\s)##?\s(.+)", line):
            yield Text(Kind.PROSE, number, match[1])


def markdown_texts(source: str) -> Iterator[Text]:
    """Yield a document as one text, without what its links point to."""
    yield Text(Kind.PROSE, 1, re.sub(r"\]\([^)\n]*\)|https?://\S+", "]", source))


def snake_case(name: str) -> str:
    """Return an identifier, a path or a route in lower case with underscores."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def _docstring(node: ast.AST) -> Iterator[Text]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
        text = ast.get_docstring(node)
        if text is not None:
            is_action = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _reads_as_noun(node)
            yield Text(Kind.FUNCTION if is_action else Kind.DOCSTRING, node.body[0].lineno, text)
    if isinstance(node, ast.ClassDef | ast.Module):
        # A string under an assignment documents what is assigned.
        for before, after in zip(node.body, node.body[1:], strict=False):
            if isinstance(before, ast.Assign | ast.AnnAssign) and (found := _bare_string(after)):
                yield Text(Kind.DOCSTRING, found.lineno, inspect.cleandoc(str(found.value)))


def _reads_as_noun(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether it stands for a value other than a bool, or is a test, whose name is its sentence."""
    decorators = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for decorator in function.decorator_list
        for node in [decorator.func if isinstance(decorator, ast.Call) else decorator]
        if isinstance(node, ast.Attribute | ast.Name)
    }
    if function.name.startswith("test_"):
        return True
    is_bool = function.returns is not None and ast.unparse(function.returns).partition(" ")[0] == "bool"
    return not is_bool and not decorators.isdisjoint(READ_AS_NOUNS)


def _names(node: ast.AST) -> Iterator[Text]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("test_"):
            yield Text(Kind.PROSE, node.lineno, name.replace("_", " "))
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield Text(Kind.NAME, node.lineno, name)
        case ast.arg(arg=name) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.Name(id=name, ctx=ast.Store()):
            yield Text(Kind.NAME, node.lineno, name)
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield Text(Kind.NAME, node.lineno, name)
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (Text(Kind.NAME, alias.lineno, alias.asname) for alias in names if alias.asname)


def _of_call(call: ast.Call) -> Iterator[Text]:
    """Yield the texts that a call shows to people, and the keys that it logs."""
    is_log = isinstance(call.func, ast.Attribute) and call.func.attr in LOG_METHODS
    for keyword in call.keywords:
        if keyword.arg is None:
            continue
        if is_log:
            yield Text(Kind.NAME, keyword.value.lineno, keyword.arg)
        if keyword.arg in SHOWN and (words := _leading_words(keyword.value)):
            yield Text(Kind.SHOWN, keyword.value.lineno, words)


def _leading_words(node: ast.expr) -> str:
    """Return a literal's text; of an f-string or a sum of strings, how it begins."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=[first, *_]) | ast.BinOp(left=first):
            return _leading_words(first)
        case _:
            return ""


def _comments(source: str) -> Iterator[Text]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(Kind.PROSE, token.start[0], token.string.lstrip("#! "))


def _bare_string(node: ast.AST) -> ast.Constant | None:
    """Return the string that is a statement of its own: a docstring, or the one of an attribute."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value
    return None
