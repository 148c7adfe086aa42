"""The access matrix of docs/access.md, generated from the applications: route x kind of objects x role."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fastapi import FastAPI

from shared.http.auth import ROLES, Access, declared_access

ALLOWED = "allowed"
SERVICE_PREFIXES = ("/v1/", "/.well-known/", "/internal/", "/account")
"""The paths that belong to one service; all others are routes of every service."""


@dataclass(frozen=True)
class Cell:
    """The outcome for a caller with one role who uses one kind of objects on one route."""

    route: str
    objects: str
    role: str
    outcome: str
    """ALLOWED, or the status and code of the problem, such as "403 role_required"."""


def routes_of(app: FastAPI) -> dict[str, Access | None]:
    """Return the declared access of each route, without HEAD routes."""
    return {route: access for route, access in declared_access(app).items() if not route.startswith("HEAD ")}


def undeclared_routes(app: FastAPI) -> list[str]:
    """Return the routes that declare no access."""
    return [route for route, access in routes_of(app).items() if access is None]


def cells_of(app: FastAPI) -> list[Cell]:
    """Return all cells of an application's matrix. Raises: ValueError for a route that declares no access."""
    if undeclared := undeclared_routes(app):
        raise ValueError(f"these routes declare no access: {', '.join(undeclared)}")
    return [cell for route, access in routes_of(app).items() if access for cell in _cells(route, access)]


def _cells(route: str, access: Access) -> Iterator[Cell]:
    for rule in access.rules:
        for role in ROLES:
            problem = access.denial(role, rule)
            outcome = ALLOWED if problem is None else f"{problem.status} {problem.code}"
            yield Cell(route, rule.objects, role, outcome)


def access_table(apps: Mapping[str, FastAPI]) -> str:
    """Return Markdown tables: the routes of each service, then those that all services have."""
    cells = {service: cells_of(app) for service, app in sorted(apps.items())}
    common = [cell for cell in next(iter(cells.values())) if not _is_of_one_service(cell.route)]
    sections = [
        _section(f"The {service} service", [cell for cell in its if _is_of_one_service(cell.route)])
        for service, its in cells.items()
    ]
    sections.append(_section("Every service, not reachable through the gateway", common))
    return "\n\n".join(sections)


def _is_of_one_service(route: str) -> bool:
    return route.partition(" ")[2].startswith(SERVICE_PREFIXES)


def _section(title: str, cells: list[Cell]) -> str:
    rows: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        rows.setdefault((cell.route, cell.objects), []).append(cell.outcome)
    return "\n".join(
        [
            f"## {title}",
            "",
            f"| route | objects | {' | '.join(ROLES)} |",
            "|---" * (2 + len(ROLES)) + "|",
            *(f"| `{route}` | {objects} | {' | '.join(outcomes)} |" for (route, objects), outcomes in rows.items()),
        ]
    )
