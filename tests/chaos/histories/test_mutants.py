"""The history check finds each of three mutants in a short campaign, and nothing in one without a mutant."""

import pytest

from tests.chaos.histories.checker import check
from tests.chaos.histories.conftest import ROUNDS, Contend
from tests.chaos.histories.mutants import FOUND_BY, MUTANTS
from tests.chaos.oracle import violated


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_a_mutant_is_found_in_the_history(contend: Contend, mutant: str) -> None:
    observed = await contend(mutant)
    assert FOUND_BY[mutant] in violated(check(observed))


async def test_the_real_services_violate_no_rule(contend: Contend) -> None:
    observed = await contend(None, until_decided=True)
    assert violated(check(observed)) == {}
    changed = [request for request in observed.requests if request.has_changed]
    assert {request.path.rpartition("/")[2] for request in changed} >= {"orders", "cancel", "me"}
    assert len(changed) > 4 * ROUNDS
    assert any(observed.final.credit_steps.values())
