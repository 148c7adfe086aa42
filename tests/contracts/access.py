"""Who may call which route, as the applications declare it."""

from collections.abc import Mapping

from fastapi import FastAPI

from shared.http.auth import access_matrix

SAID = {"public": "everybody", "caller": "signed in"}


def routes_of(app: FastAPI) -> dict[str, str]:
    """The access matrix without HEAD, which is GET without a body."""
    return {route: access for route, access in access_matrix(app).items() if not route.startswith("HEAD ")}


def access_table(apps: Mapping[str, FastAPI]) -> str:
    """Markdown: the routes of each service, then those that all of them have."""
    matrices = {service: routes_of(app) for service, app in apps.items()}
    everywhere = set.intersection(*(set(matrix.items()) for matrix in matrices.values()))
    sections = [
        _section(f"The {service} service", [item for item in matrix.items() if item not in everywhere])
        for service, matrix in sorted(matrices.items())
    ]
    sections.append(_section("In every service, and not through the gateway", sorted(everywhere)))
    return "\n\n".join(sections)


def _section(title: str, routes: list[tuple[str, str]]) -> str:
    rows = [f"| `{route}` | {_said(access)} |" for route, access in routes]
    return "\n".join([f"## {title}", "", "| route | who may call it |", "|---|---|", *rows])


def _said(access: str) -> str:
    return SAID.get(access, access.replace("|", " or "))
