"""The operations on dead letters of the tests' consumer."""

import pytest

from shared.database import Database
from shared.operations.dead_letters import DeadLetterOperations
from tests.shared.operations.blocked_keys import SUBSCRIPTIONS


@pytest.fixture
def dead_letters(database: Database) -> DeadLetterOperations:
    return DeadLetterOperations(database.sessions, SUBSCRIPTIONS)
