"""The screen of an operator: pages with the navigation."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.responses import HTMLResponse

from deploy.console.access.operator import Operator, OperatorDep
from deploy.console.dependencies import SettingsDep
from deploy.console.rendering import page
from deploy.console.settings import ConsoleSettings


@dataclass(frozen=True)
class Screen:
    """The pages as one operator sees them."""

    operator: Operator
    settings: ConsoleSettings

    def show(self, template: str, *, place: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Render a page. `place` is its path in the navigation. Raises: jinja2.UndefinedError."""
        return page(template, status=status, place=place, operator=self.operator, settings=self.settings, **values)


async def _screen(operator: OperatorDep, settings: SettingsDep) -> Screen:
    return Screen(operator, settings)


ScreenDep = Annotated[Screen, Depends(_screen)]
"""The dependency of every page. It demands an operator."""
