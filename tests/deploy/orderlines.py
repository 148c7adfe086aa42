"""A builder of order lines."""

from deploy.demo.data import Line

_ORDINARY = Line("536365", "85123A", "WHITE HANGING HEART", 6, 255, "17850", "United Kingdom")


def line(**changes: object) -> Line:
    """An ordinary line, but for the changes."""
    return _ORDINARY._replace(**changes)  # type: ignore[arg-type]  # of the fields' own types
