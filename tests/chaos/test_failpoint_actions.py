"""Failpoints run their action at the passes that a specification names.

The other tests of this folder kill a process at each of them, and check that nothing is lost.
"""

import os
import signal
import subprocess
import sys

import pytest

from deploy.local.state import CHECKOUT
from tests.chaos.failpoints import Failpoint, FailpointRaised, parse

PASSES = """
import sys
from shared.messaging.failpoints import failpoint
from tests.chaos.failpoints import arm
arm(sys.argv[1])
failpoint("relay.acked")
failpoint("relay.moved")
failpoint("relay.acked")
"""


def test_a_specification_names_places_actions_and_passes() -> None:
    assert parse("relay.acked=kill@3; consumer.db_committed=kill%0.01;delivery.sent=sleep:2;relay.moved=raise;") == {
        "relay.acked": Failpoint("kill", nth=3),
        "consumer.db_committed": Failpoint("kill", chance=0.01),
        "delivery.sent": Failpoint("sleep", seconds=2),
        "relay.moved": Failpoint("raise"),
    }
    assert parse("") == {}


@pytest.mark.parametrize("wrong", ["relay.elsewhere=kill", "relay.acked=explode", "relay.acked", "relay.acked=kill@x"])
def test_an_unknown_place_or_action_is_invalid(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not a failpoint"):
        parse(wrong)


def test_a_stopped_process_continues_after_sigcont() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", f"{PASSES}\nprint('continued')", "relay.acked=stop@1"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
    )
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=30)
    assert output == b"continued\n"


def test_the_action_runs_only_at_the_given_pass() -> None:
    point = Failpoint("raise", nth=2)
    point.passed("relay.acked")
    with pytest.raises(FailpointRaised, match=r"relay\.acked"):
        point.passed("relay.acked")
    point.passed("relay.acked")


@pytest.mark.parametrize(("specification", "status"), [("relay.acked=raise@2", 1), ("relay.acked=kill@2", -9), ("", 0)])
def test_a_process_acts_at_its_failpoints(specification: str, status: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PASSES, specification], cwd=CHECKOUT, stderr=subprocess.DEVNULL, check=False
    )
    assert ended.returncode == status
