"""The history check finds each of three mutants in a short campaign, and nothing in one without a mutant."""

import html
import json
import re

import pytest

from tests.chaos.histories.checker import ONE_CHANGE_PER_VERSION, check
from tests.chaos.histories.conftest import ROUNDS, Contend
from tests.chaos.histories.mutants import FOUND_BY, MUTANTS
from tests.chaos.history_page.events import collect
from tests.chaos.history_page.page import Heading, render
from tests.chaos.oracle import violated


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_a_mutant_is_found_in_the_history(contend: Contend, mutant: str) -> None:
    campaign = await contend(mutant)
    assert FOUND_BY[mutant] in violated(check(campaign.observed))


async def test_the_real_services_violate_no_rule(contend: Contend) -> None:
    observed = (await contend(None, until_decided=True)).observed
    assert violated(check(observed)) == {}
    changed = [request for request in observed.requests if request.has_changed]
    assert {request.resource.kind for request in changed if request.resource} == {"users", "products", "orders"}
    assert len(changed) > 4 * ROUNDS
    assert any(observed.final.credit_steps.values())


async def test_the_page_of_a_mutant_leads_from_the_violation_to_the_two_changes(contend: Contend) -> None:
    campaign = await contend("lost_update")
    findings = check(campaign.observed)
    page = render(Heading("contention", 1, has_passed=False), campaign.record, await collect(campaign.record), findings)
    violation = violated(findings)[ONE_CHANGE_PER_VERSION][0]
    link = re.search(re.escape(html.escape(violation[:80])) + r'.*?href="#lane-(\d+)"', page, re.DOTALL)
    data = re.search(r'id="data">(.*?)</script>', page)
    assert link
    assert data
    lane = json.loads(data[1])["lanes"][int(link[1])]
    assert violation.startswith(f"{lane['topic']} {lane['key']}: 2 changes of version")
    changes = [request for request in lane["requests"] if request[2].startswith(("PATCH", "POST"))]
    assert sum(outcome == "SUCCESS" for _, _, _, _, _, outcome, *_ in changes) >= 2
    assert lane["events"]
