"""Generated requests to each service, always the same. `make fuzz` sends thousands."""

from pathlib import Path

import pytest

from tests.fuzz.runner import Run
from tests.fuzz.subjects import SUBJECTS, Servers
from tests.harness.asgi import served
from tests.harness.databases import DatabaseFactory

CASES = 60
SEED = 20261123


@pytest.mark.parametrize("service", SUBJECTS)
async def test_generated_requests_get_the_documented_responses(
    service: str, database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path
) -> None:
    subject = await SUBJECTS[service](Servers(database_factory, valkey_url, tmp_path))
    async with served(subject.app) as url:
        run = Run(
            url=url,
            token=subject.token,
            cases=CASES,
            seed=SEED,
            phases=("fuzzing", "stateful"),
            skus=subject.skus,
        )
        outcome = await run.run()

    await subject.app.state.sessions.kw["bind"].dispose()
    await subject.app.state.cache.close()
    assert outcome.passed, outcome.output
    assert outcome.cases >= CASES
