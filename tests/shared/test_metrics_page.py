"""docs/metrics.md has every metric, and no other."""

import re

from deploy.local.state import CHECKOUT
from tests.architecture.metric_names import own_metrics


def test_the_page_lists_every_metric() -> None:
    page = (CHECKOUT / "docs/metrics.md").read_text()
    assert (
        set(re.findall(r"^\| `(\w+)(?:\{[^}]*\})?` \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)) == own_metrics().keys()
    )
