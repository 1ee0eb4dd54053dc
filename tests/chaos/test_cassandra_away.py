"""Cassandra hangs and then is gone, under load: back-pressure, not failure; afterwards every view is counted.

VIEW_COUNTS_TEST_CASSANDRA_AWAY_S says for how long, 900 for the quarter of an hour that the product promises.
"""

import os
import signal
import time
from collections import Counter

import pytest
from cassandra import DriverException, RequestExecutionException
from cassandra.cluster import NoHostAvailable

from tests.support.installation import Cell, Installation
from tests.support.records import Feeder, View
from tests.support.repeating import Repeating
from tests.support.waiting import PATIENCE_S, eventually
from tools.stack import Stack

AWAY_S = float(os.environ.get("VIEW_COUNTS_TEST_CASSANDRA_AWAY_S", "20"))
# The first part of the time Cassandra holds its connections and answers nothing.
HANGS_SHARE = 0.4
COUNTING = {"salts": 8, "shards": 8, "flush_interval_ms": 100, "emit_interval_ms": 200}
VIEWS_A_ROUND = 500
ROUND_S = 0.25
VIDEOS = 100


class Load(Repeating):
    """Sends views, stamped now."""

    def __init__(self, feeder: Feeder) -> None:
        super().__init__(ROUND_S)
        self._feeder = feeder
        self.expected: Counter[Cell] = Counter()

    def step(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        views = [View(f"video-{n % VIDEOS}", now_ms) for n in range(VIEWS_A_ROUND)]
        self._feeder.send(views)
        self.expected.update(view.cell for view in views)


def answers(installation: Installation) -> bool:
    try:
        installation.session.execute("SELECT views FROM views_by_minute LIMIT 1")
    except (NoHostAvailable, DriverException, RequestExecutionException):
        return False
    return True


@pytest.mark.nightly
def test_nothing_is_lost_and_the_job_does_not_restart(shared_stack: Stack) -> None:
    with Installation(shared_stack, "away", COUNTING, trusted_times=False) as installation:
        feeder = Feeder(installation.settings)
        job = installation.start(parallelism=2)
        with Load(feeder) as load:
            assert eventually(lambda: installation.ledger()["counted"] > 0), installation.ledger()
            shared_stack.kill("cassandra", signal.SIGSTOP)
            time.sleep(AWAY_S * HANGS_SHARE)
            shared_stack.kill("cassandra", signal.SIGCONT)
            shared_stack.stop_part("cassandra")
            sent_before = feeder.events
            time.sleep(AWAY_S * (1 - HANGS_SHARE))
            assert feeder.events > sent_before
            assert installation.is_running(job)
            shared_stack.start_part("cassandra")
            assert eventually(lambda: answers(installation))
        assert eventually(lambda: installation.views() == load.expected, PATIENCE_S + AWAY_S)
        assert eventually(lambda: installation.ledger()["records"] == feeder.records), installation.ledger()
        assert installation.fates() == {"received": feeder.events, "counted": feeder.events}
        assert installation.restarts(job) == 0
        assert installation.is_running(job)
