"""Options of the command lines of campaigns and benchmarks."""

from collections.abc import Collection

import typer


def chosen(names: str, *, known: Collection[str]) -> list[str]:
    """Split a comma-separated list. Raises: typer.BadParameter for an unknown name."""
    chosen_names = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in chosen_names if name not in known]:
        raise typer.BadParameter(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return chosen_names
