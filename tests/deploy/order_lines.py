"""A builder of order lines."""

from deploy.demo.invoices import Line

_VALID = Line("536365", "85123A", "WHITE HANGING HEART", 6, 255, "17850", "United Kingdom")


def line(**changes: object) -> Line:
    """Return a valid line with some fields changed."""
    return _VALID._replace(**changes)  # type: ignore[arg-type]  # the fields have different types
