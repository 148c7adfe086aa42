"""Migrations, cached values and jobs: what two versions share, beside events, while they run side by side.

`python -m tests.contracts release` stores it; until the next release it may only change as docs/upgrades.md allows.
"""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, TypeAdapter

from tests.architecture.source import CHECKOUT, SERVICES, Module, modules_under
from tests.chaos.upgrade.comparison import Migrations, migrations_of
from tests.chaos.upgrade.versions import this_version
from tests.contracts.compatibility import plain

RELEASED = CHECKOUT / "deploy" / "upgrade" / "released.json"


class CachedValue(BaseModel):
    """A kind of value that is stored in Valkey."""

    version: int
    form: str
    """A digest of its schema."""


class Shared(BaseModel):
    """Everything that the processes of one version share with those of another one."""

    migrations: Mapping[str, Mapping[str, str]]
    """A digest of the SQL of each revision, by service."""
    cached_values: Mapping[str, CachedValue]
    """The kinds of cached values, by the name of their class."""
    tasks: Mapping[str, list[str]]
    """The kinds of jobs that each service runs."""
    enqueued: list[str]
    """The kinds of jobs that are enqueued."""


@cache
def current_migrations() -> Migrations:
    """Return the migrations of this checkout with their SQL. It takes a process that imports Alembic."""
    return migrations_of(this_version())


def current() -> Shared:
    """Return what this checkout shares."""
    return Shared(
        migrations={
            service: {each.revision: each.digest for each in migrations}
            for service, migrations in current_migrations().items()
        },
        cached_values=dict(_cached_values()),
        tasks=_tasks(),
        enqueued=sorted(set(_enqueued())),
    )


def read(path: Path = RELEASED) -> Shared:
    """Return what the last release shares."""
    return Shared.model_validate_json(path.read_bytes())


def write(shared: Shared, path: Path = RELEASED) -> None:
    """Store what a release shares."""
    path.write_text(json.dumps(shared.model_dump(), indent=2, sort_keys=True) + "\n")


def incompatibilities(*, released: Shared, current: Shared) -> list[str]:
    """Describe each change after which the two versions cannot run side by side."""
    return [
        *_changed_migrations(released, current),
        *_changed_cached_values(released, current),
        *(
            f"{service}: the job {task!r} is not run any more, but the last release enqueues it"
            for service, tasks in released.tasks.items()
            for task in sorted({*tasks} - {*current.tasks.get(service, ())})
        ),
        *(
            f"The job {task!r} is enqueued, but the last release does not run it: only add its function now"
            for task in sorted({*current.enqueued} - {task for tasks in released.tasks.values() for task in tasks})
        ),
    ]


def _changed_migrations(released: Shared, current: Shared) -> Iterator[str]:
    for service, digests in released.migrations.items():
        for revision, digest in digests.items():
            if current.migrations.get(service, {}).get(revision) != digest:
                yield f"{service}: the released migration {revision} was changed: add a new one instead"


def _changed_cached_values(released: Shared, current: Shared) -> Iterator[str]:
    for name, before in released.cached_values.items():
        after = current.cached_values.get(name)
        if after is not None and after.form != before.form and after.version <= before.version:
            yield f"{name}: its form was changed, but its version is still {after.version}"


def _cached_values() -> Iterator[tuple[str, CachedValue]]:
    """Yield each model that is passed to `get_or_load`, by its name."""
    for module, call in _calls("get_or_load"):
        arguments = {each.arg: each.value for each in call.keywords}
        model, version = (_value_of(arguments[name], module) for name in ("model", "version"))
        schema = TypeAdapter(model).json_schema(mode="serialization")
        form = json.dumps(plain(schema, schema.get("$defs", {})), sort_keys=True)
        yield (
            f"{model.__module__}.{model.__qualname__}",
            CachedValue(version=version, form=hashlib.sha256(form.encode()).hexdigest()),
        )


def _tasks() -> dict[str, list[str]]:
    """Return the names under which each service registers functions for jobs; those of `shared` are every service's."""
    found: dict[str, set[str]] = {service: set() for service in SERVICES}
    for module, call in _calls("task"):
        # As a decorator: `@jobs.task(NAME, ...)`.
        if not isinstance(call.func, ast.Attribute) or ast.unparse(call.func.value) != "jobs":
            continue
        name = str(_value_of(call.args[0], module))
        package = module.__name__.split(".")
        for service in SERVICES if package[0] == "shared" else (package[1],):
            found[service].add(name)
    return {service: sorted(names) for service, names in found.items()}


def _enqueued() -> Iterator[str]:
    """Yield the name that each call of `enqueue` passes."""
    for module, call in _calls("enqueue"):
        # PgQueuer's own method has the name as its first argument; ours has the session before it.
        if isinstance(call.func, ast.Name):
            yield str(_value_of(call.args[1], module))


def _calls(name: str) -> Iterator[tuple[ModuleType, ast.Call]]:
    for source in modules_under("services", "shared"):
        for node in ast.walk(source.tree) if f"{name}(" in source.text else ():
            if isinstance(node, ast.Call) and _name_of(node.func) == name:
                yield _imported(source), node


def _imported(source: Module) -> ModuleType:
    return import_module(source.name)


def _name_of(function: ast.expr) -> str | None:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else None


def _value_of(expression: ast.expr, module: ModuleType) -> Any:
    """Return the value of a constant, or of a name of the module. Raises: AssertionError for anything else."""
    if isinstance(expression, ast.Constant):
        return expression.value
    assert isinstance(expression, ast.Name), f"{module.__name__}: {ast.unparse(expression)} has to be a name"
    return getattr(module, expression.id)
