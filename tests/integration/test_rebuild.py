"""docs/rebuild.md, step by step: all is counted again into a new keyspace, while the stream counts into the old one."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC

import pytest

from tests.support.installation import PROMPT, Cell, Installation
from tests.support.jobs import cancel
from tests.support.records import MINUTE_MS, Feeder, View, count
from tests.support.waiting import eventually
from tools.history import history_in_force
from tools.stack import Stack
from tools.stack.layout import repository
from udfs.stores.archive import Archive, filesystem
from udfs.stores.history_store import HistoryStore

HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
# 2026-01-31 22:30 UTC: a day and a month end in what is sent.
START_MS = 1_769_898_600_000
# Of the restart, in minutes since then: 00:37.
RESTART = 127
ARCHIVE = "jobs/archive_events.py"
ROLLUP = "jobs/rollup.py"
# The views are of long ago, and their minutes were written just now.
AUDIT = "jobs/audit.py --hours 1000000"
LATENESS = 10
COUNTING = {**PROMPT, "salts": 8, "shards": 8, "lateness_ms": LATENESS * MINUTE_MS}


@pytest.fixture
def installation(shared_stack: Stack) -> Iterator[Installation]:
    with Installation(shared_stack, "rebuilt", COUNTING, trusted_times=True) as made:
        yield made


class Sender:
    """Feeds an installation, and keeps what was sent."""

    def __init__(self, installation: Installation) -> None:
        self._feeder = Feeder(installation.settings)
        self.in_time: list[View] = []
        self.late: list[View] = []

    @property
    def records(self) -> int:
        return self._feeder.records

    def minute(self, minute: int, repeated: Iterable[View] = ()) -> None:
        """New views of a minute, in it, and repeats."""
        at_ms = START_MS + minute * MINUTE_MS
        new = [View(f"video-{n % 5}", at_ms + n, "like" if n % 4 == 0 else "view") for n in range(20)]
        self._feeder.send([*new, *repeated, new[0]], at_ms + 1000)
        self.in_time += new

    def too_late(self, minute: int, viewed: int) -> None:
        """New views of a minute that has long closed, one of them twice."""
        new = [View(f"video-{n % 2}", START_MS + viewed * MINUTE_MS + n) for n in range(4)]
        self._feeder.send([*new, new[0]], START_MS + minute * MINUTE_MS + 2000)
        self.late += new

    def heartbeats(self, minute: int) -> None:
        self._feeder.send([], START_MS + minute * MINUTE_MS)


def minute_of(minute: int) -> int:
    """Since 1970, of one since START_MS."""
    return START_MS // MINUTE_MS + minute


def archived_records(installation: Installation) -> int:
    settings = installation.settings
    archive = Archive(filesystem(settings.s3), settings.archive.path)
    files = archive.files()
    of_partitions = [[f for f in files if f.partition == p] for p in range(settings.kafka.partitions)]
    return sum(len(list(archive.read_partition(mine))) for mine in of_partitions)


def wait_for(installation: Installation, views: Mapping[Cell, int], closed_through: int) -> None:
    """Until the stream has written just these, and closed all minutes through that one."""
    assert eventually(lambda: installation.closed_through() == closed_through), installation.closed_through()
    assert eventually(lambda: installation.views() == views), installation.views()


def through_hour(installation: Installation) -> int:
    settings = installation.settings
    return history_in_force(settings, HistoryStore(filesystem(settings.s3), settings.history.path)).through_hour


def spans(installation: Installation) -> dict[str, Mapping[tuple[str, str, int], int]]:
    """Hours, days and totals in the tables, by video, kind and number of the span since 1970."""
    execute = installation.session.execute
    hours = execute("SELECT video_id, kind, hour AS at, views FROM views_by_hour")
    days = execute("SELECT video_id, kind, day AS at, views FROM views_by_day")
    totals = execute("SELECT video_id, kind, views FROM view_totals")
    return {
        "hours": {(r.video_id, r.kind, round(r.at.replace(tzinfo=UTC).timestamp()) // 3600): r.views for r in hours},
        "days": {(r.video_id, r.kind, r.at.days_from_epoch): r.views for r in days},
        "totals": {(r.video_id, r.kind, 0): r.views for r in totals},
    }


def spans_of(views: Iterable[View]) -> dict[str, Mapping[tuple[str, str, int], int]]:
    """What `spans` must find, each of these views counted once."""
    views = list(views)
    return {
        "hours": Counter((v.video_id, v.kind, v.viewed_at // HOUR_MS) for v in views),
        "days": Counter((v.video_id, v.kind, v.viewed_at // DAY_MS) for v in views),
        "totals": Counter((v.video_id, v.kind, 0) for v in views),
    }


@pytest.mark.nightly
def test_a_new_keyspace_is_filled_while_the_old_one_is_counted_into(installation: Installation) -> None:
    stack, sender = installation.stack, Sender(installation)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(installation.start)
        pool.submit(installation.start, script=ARCHIVE).result()
        for minute in range(0, RESTART, 9):
            sender.minute(minute, sender.in_time[-10:])
        sender.too_late(RESTART - 1, viewed=5)
        job = first.result()

    # 1. New tables, and a new path, which their register makes a pair.
    rebuilt = installation.beside("rebuilt_2", f"{installation.settings.history.path}-2")
    provision = [sys.executable, "-m", "tools.stack.provision", "tables", "register"]
    variables = {**stack.process_environment(), **rebuilt.environment()}
    subprocess.run(provision, cwd=repository(), env=variables, check=True)
    closed = minute_of(RESTART - 1) - LATENESS - 1
    wait_for(installation, count(sender.in_time), closed_through=closed)

    # 2. Minutes are open when the job stops, and of the last one not all may have been sent or written.
    sender.minute(RESTART, sender.in_time[-10:])
    savepoint = stack.flink_stop(job)
    with closing(rebuilt), ThreadPoolExecutor(2) as pool:
        starts = [pool.submit(each.start, savepoint=savepoint) for each in (installation, rebuilt)]
        # New views of an open minute, and repeats of what only the savepoint knows.
        sender.minute(RESTART, sender.in_time[-40:])
        old_job, new_job = (start.result() for start in starts)
        sender.minute(RESTART + 5, sender.in_time[-40:])
        sender.too_late(RESTART + 6, viewed=9)
        sender.too_late(RESTART + 6, viewed=RESTART - 20)

        # 3. The hour from 01:00 to 02:00 is over and archived.
        for minute in range(RESTART + 14, 210, 9):
            sender.minute(minute, sender.in_time[-10:])
        sender.heartbeats(211)
        assert eventually(lambda: archived_records(installation) == sender.records)
        by_stream = count(sender.in_time)
        # What was closed before the restart is not there, what was open then is, whole.
        by_new_job = {cell: views for cell, views in by_stream.items() if cell[2] > closed}
        for each, expected in ((installation, by_stream), (rebuilt, by_new_job)):
            wait_for(each, expected, closed_through=minute_of(211) - LATENESS - 1)

        # 4. The whole archive.
        assert "run 1: " in rebuilt.run(script=ROLLUP)
        through_ms = through_hour(rebuilt) * HOUR_MS
        assert through_ms == START_MS + 150 * MINUTE_MS, "the hour of the restart is complete, the one after it is not"
        everything = [*sender.in_time, *sender.late]
        assert spans(rebuilt) == spans_of(v for v in everything if v.viewed_at < through_ms)

        # 5. What the stream had closed before is written.
        lacking = {view.cell for view in everything} - by_new_job.keys()
        assert f"; {len(lacking)} repaired" in rebuilt.run(script=f"{AUDIT} --repair")
        assert " 0 wrong, 0 late (+0 views); 0 repaired" in rebuilt.run(script=AUDIT)
        assert rebuilt.views() == count(everything)

        # 6. The old tables have what the stream counts, and nothing else, and both jobs have run all the time.
        assert installation.views() == by_stream
        assert not any(spans(installation).values())
        for each_job in (old_job, new_job):
            assert installation.is_running(each_job)
            assert installation.restarts(each_job) == 0
        cancel(stack, old_job)
        sender.minute(212, sender.in_time[-40:])
        everything = [*sender.in_time, *sender.late]
        assert eventually(lambda: rebuilt.views() == count(everything)), rebuilt.views()
