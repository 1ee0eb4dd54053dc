"""Two rollups at once, one of them killed and then paused and woken: no total is doubled, and none is lost."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest

from tests.support.installation import PROMPT, Installation
from tests.support.records import MINUTE_MS, Feeder, View
from tests.support.waiting import eventually
from tools.stack import FlinkCommandError, Stack
from udfs.stores.archive import Archive, filesystem
from udfs.stores.history_register import CassandraRegisters
from udfs.stores.history_store import HistoryStore

START_MS = 1_769_898_600_000
ROLLUP = "jobs/rollup.py"


@pytest.fixture
def installation(shared_stack: Stack) -> Iterator[Installation]:
    with Installation(shared_stack, "two-rollups", PROMPT, trusted_times=True) as made:
        yield made


class Rollup(threading.Thread):
    """A rollup that somebody has typed; `error` is what it ended with."""

    def __init__(self, installation: Installation) -> None:
        super().__init__(daemon=True)
        self._installation = installation
        self.printed, self.error = "", ""
        self.start()

    def run(self) -> None:
        try:
            self.printed = self._installation.run(script=ROLLUP)
        except FlinkCommandError as error:
            self.error = str(error)


def clients() -> list[psutil.Process]:
    """The processes by which rollups have been submitted and are waited for."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any(ROLLUP in argument for argument in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def totals(installation: Installation) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
    """By (video, kind), as the table and as Parquet has them."""
    register = CassandraRegisters(installation.session).read()
    assert register is not None
    settings = installation.settings
    store = HistoryStore(filesystem(settings.s3), settings.history.path)
    manifest = store.manifest(register.manifest, settings.counting.shards)
    rows = installation.session.execute("SELECT video_id, kind, views FROM view_totals")
    return {(row.video_id, row.kind): row.views for row in rows}, {
        (row["video_id"], row["kind"]): row["views"]
        for path in manifest.files["totals"][0].values()
        for row in store.get(path).to_pylist()
    }


@pytest.mark.nightly
def test_whoever_is_late_counts_nothing_twice(installation: Installation) -> None:
    stack, feeder = installation.stack, Feeder(installation.settings)
    archive = Archive(filesystem(installation.settings.s3), installation.settings.archive.path)
    views: list[View] = []

    def send(hour: int) -> None:
        for minute in range(0, 60, 10):
            at = START_MS + (60 * hour + minute) * MINUTE_MS
            mine = [View(f"video-{n % 5}", at + n) for n in range(20)]
            views.extend(mine)
            feeder.send([*mine, *mine[:3]], at)

    def archived() -> bool:
        files, partitions = archive.files(), range(installation.settings.kafka.partitions)
        found = [len(list(archive.read_partition(f for f in files if f.partition == p))) for p in partitions]
        return sum(found) == feeder.records

    def expected() -> dict[tuple[str, str], int]:
        last = max(view.viewed_at for view in views) // (60 * MINUTE_MS) - 1
        return dict(Counter((v.video_id, v.kind) for v in views if v.viewed_at // (60 * MINUTE_MS) < last))

    installation.start(script="jobs/archive_events.py")
    for hour in range(4):
        send(hour)
    assert eventually(archived)
    before = set(stack.python_workers())

    # One is stopped in the middle of its work, and whoever waits for it is killed: it says nothing any more.
    first = Rollup(installation)
    assert eventually(lambda: len(set(stack.python_workers()) - before) > 0)
    workers = set(stack.python_workers()) - before
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    for process in clients():
        process.kill()
    first.join(60)
    assert first.error
    # Meanwhile an hour more has closed, so that the second counts what the first does not know of.
    send(4)
    send(5)
    assert eventually(archived)
    second = Rollup(installation)
    second.join(400)
    assert "complete through" in second.printed, second.error
    table, parquet = totals(installation)
    assert table == parquet == expected()

    # The first goes on where it stood, and must find out.
    for pid in workers:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGCONT)
    assert eventually(lambda: "rollup" not in stack.unfinished_jobs().values(), timeout_s=200)
    assert totals(installation) == (table, parquet)

    # Two at once, and one more.
    send(6)
    send(7)
    assert eventually(archived)
    for one in [Rollup(installation), Rollup(installation)]:
        one.join(400)
        assert one.printed, one.error
    table, parquet = totals(installation)
    assert table == parquet == expected()
