"""The job was down for longer than any state TTL: nothing counts twice, and nothing that waited in state is lost."""

import time
from pathlib import Path

import pytest

from tests.chaos.short_ttl_job import STATE_TTL_MS
from tests.support.installation import PROMPT, Installation
from tests.support.records import MINUTE_MS, Feeder, View, count
from tests.support.waiting import eventually
from tools.stack import Stack

GENERATION_MS = 3 * MINUTE_MS
COUNTING = {
    "salts": 4,
    "shards": 4,
    "lateness_ms": MINUTE_MS,
    "generation_ms": GENERATION_MS,
    **PROMPT,
}
# Turns come at multiples of it: the next one after 1970 is far.
NEVER_MS = 1 << 42
# A start of a generation, 2026-01-01 00:00 UTC: append times here are the test's own.
START_MS = 1_767_225_600_000
AWAY_MS = 3 * 24 * 60 * MINUTE_MS
SHORT_TTL_JOB = str(Path(__file__).with_name("short_ttl_job.py"))


@pytest.mark.nightly
def test_repeats_are_not_counted_and_unsent_counts_come_back(shared_stack: Stack) -> None:
    with Installation(shared_stack, "outlived", COUNTING, trusted_times=True) as installation:
        feeder = Feeder(installation.settings)
        at = [START_MS + generation * GENERATION_MS + 5_000 for generation in range(3)]
        views = [[View(f"video-{n % 20}", append_ms - n) for n in range(200)] for append_ms in at]
        for append_ms, some in zip(at, views, strict=True):
            feeder.send(some, append_ms)
        job = installation.start(script=SHORT_TTL_JOB, flush_interval_ms=NEVER_MS, catch_up_flush_interval_ms=NEVER_MS)
        # All has been read, as the ledger says, and no count has been sent.
        assert eventually(lambda: installation.ledger()["records"] == feeder.records), installation.ledger()
        assert installation.views() == {}
        savepoint = installation.stack.flink_stop(job)
        stopped_at = time.monotonic()

        back = at[-1] + AWAY_MS
        counted = [view for some in views for view in some]
        for_closed_minutes = [View(view.video_id, view.viewed_at) for view in views[0]]
        fresh = [View("fresh", back)]
        feeder.send([*counted, *for_closed_minutes, *fresh], back)
        # The whole TTL, by the clock on the wall, between the last write of one job and the first read of the other.
        time.sleep(max(0.0, STATE_TTL_MS / 1000 - (time.monotonic() - stopped_at)))
        job = installation.start(savepoint=savepoint, script=SHORT_TTL_JOB)
        expected = count([*counted, *fresh])
        assert eventually(lambda: installation.views() == expected), installation.views()
        assert eventually(lambda: installation.ledger()["records"] == feeder.records), installation.ledger()
        assert installation.fates() == {
            "received": feeder.events,
            "counted": len(counted) + len(fresh),
            "late": len(counted) + len(for_closed_minutes),
        }
        assert installation.restarts(job) == 0
