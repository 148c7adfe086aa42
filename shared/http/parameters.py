"""Query and path parameters: a route refuses unknown ones, repeated ones, and values in an undocumented spelling."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from fastapi import FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Path, Query
from fastapi.routing import iter_route_contexts

from shared.http.problems import ValidationFailed, field_error
from shared.http.spellings import SPELLINGS, Spelling

CHECKED_PREFIX = "/v1/"
_SEQUENCES = (list, set, frozenset, tuple)

FieldError = dict[str, str]


DependencyT = TypeVar("DependencyT", bound=Callable[..., object])

_AFTER_PARAMETERS: set[Callable[..., object]] = set()


def after_parameters(dependency: DependencyT) -> DependencyT:
    """Mark a dependency that reads the database: it runs after the access control and the check of the parameters."""
    _AFTER_PARAMETERS.add(dependency)
    return dependency


def check_parameters(app: FastAPI) -> None:
    """Let all routes under /v1 check their parameters. Call it once the routes are added.

    The check runs after the access control, so that a caller without access learns nothing about a route's parameters.
    """
    for route in iter_route_contexts(app.routes):
        dependant: Dependant | None = getattr(route, "dependant", None)
        if dependant is not None and str(route.path).startswith(CHECKED_PREFIX):
            check = _ParameterCheck.of(dependant)
            late = [each for each in dependant.dependencies if each.call in _AFTER_PARAMETERS]
            for each in late:
                dependant.dependencies.remove(each)
            dependant.dependencies += [Dependant(call=check, path=route.path, request_param_name="request"), *late]


@dataclass(frozen=True, eq=False)
class _ParameterCheck:
    """A dependency that checks the parameters of one route."""

    query: Mapping[str, Any]
    """The types of the query parameters by their names."""
    path: Mapping[str, Any]

    @classmethod
    def of(cls, dependant: Dependant) -> "_ParameterCheck":
        fields = get_flat_params(dependant)
        query = {field.alias: field.field_info.annotation for field in fields if isinstance(field.field_info, Query)}
        path = {field.alias: field.field_info.annotation for field in fields if isinstance(field.field_info, Path)}
        return cls(query, path)

    async def __call__(self, request: Request) -> None:
        """Check a request. Raises: ValidationFailed."""
        if errors := [*self._errors_in_query(request), *self._errors_in_path(request)]:
            raise ValidationFailed(extra={"errors": errors})

    def _errors_in_query(self, request: Request) -> Iterator[FieldError]:
        for name in request.query_params:
            values = request.query_params.getlist(name)
            if name not in self.query:
                known = f"This route takes {', '.join(sorted(self.query))}" if self.query else "This route takes none"
                yield _error("query", name, "unknown_parameter", f"Unknown parameter. {known}")
            elif len(values) > 1 and not _takes_many(self.query[name]):
                yield _error("query", name, "repeated_parameter", "Send the parameter once")
            else:
                yield from _misspelled("query", name, self.query[name], values)

    def _errors_in_path(self, request: Request) -> Iterator[FieldError]:
        for name, annotation in self.path.items():
            yield from _misspelled("path", name, annotation, [str(request.path_params.get(name, ""))])


def _misspelled(source: str, name: str, annotation: Any, values: list[str]) -> Iterator[FieldError]:
    spelling = _spelling_of(annotation)
    if spelling is not None and not all(map(spelling.fits, values)):
        yield _error(source, name, spelling.code, spelling.message)


def _error(source: str, name: str, code: str, message: str) -> FieldError:
    return field_error(source, [name], message=message, code=code)


def _spelling_of(annotation: Any) -> Spelling | None:
    """Return the spelling of a type's values; None if it is text, or a choice of types."""
    kinds = {kind for kind in _kinds(annotation) if kind is not type(None)}
    return SPELLINGS.get(kinds.pop()) if len(kinds) == 1 else None


def _takes_many(annotation: Any) -> bool:
    return any(get_origin(each) in _SEQUENCES for each in _alternatives(annotation))


def _kinds(annotation: Any) -> Iterator[Any]:
    for each in _alternatives(annotation):
        if get_origin(each) in _SEQUENCES:
            yield from _kinds(get_args(each)[0])
        else:
            yield each


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Yield the types of a union, or the type itself, without their annotations."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in {Union, UnionType}:
        for each in get_args(annotation):
            yield from _alternatives(each)
    else:
        yield annotation
