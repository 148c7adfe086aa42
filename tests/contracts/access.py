"""The access tables of docs/access.md, generated from the applications."""

from collections.abc import Mapping

from fastapi import FastAPI

from shared.http.auth import access_matrix

DESCRIPTIONS = {"public": "anyone", "caller": "signed-in users", "service": "other services; not through the gateway"}


def routes_of(app: FastAPI) -> dict[str, str]:
    """Return the access matrix without HEAD routes."""
    return {route: access for route, access in access_matrix(app).items() if not route.startswith("HEAD ")}


def access_table(apps: Mapping[str, FastAPI]) -> str:
    """Return Markdown tables: the routes of each service, then those that all services have."""
    matrices = {service: routes_of(app) for service, app in apps.items()}
    common = set.intersection(*(set(matrix.items()) for matrix in matrices.values()))
    sections = [
        _section(f"The {service} service", [item for item in matrix.items() if item not in common])
        for service, matrix in sorted(matrices.items())
    ]
    sections.append(_section("Every service, not reachable through the gateway", sorted(common)))
    return "\n\n".join(sections)


def _section(title: str, routes: list[tuple[str, str]]) -> str:
    rows = [f"| `{route}` | {_description(access)} |" for route, access in routes]
    return "\n".join([f"## {title}", "", "| route | access |", "|---|---|", *rows])


def _description(access: str) -> str:
    return DESCRIPTIONS.get(access, access.replace("|", " or "))
