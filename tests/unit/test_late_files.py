"""What the archive commits late is counted when it appears, and is said to be missing until then; topics made anew."""

import os
import random
import shutil
import time
import uuid
from collections import Counter
from pathlib import Path

import pyarrow.fs
import pytest

from tests.support.local_rollup import HOUR_MS, LocalRollup
from tests.support.random_streams import MINUTE_MS, NOW_MS, RULES, Event, encode
from tests.support.records import salt_of
from udfs.logic.history.manifest import HistoryError
from udfs.stores.topic_marker import TopicMarker, mark_topic

# Together they take seconds, some by what they build first: the fast tier leaves them out.
pytestmark = pytest.mark.slow

FIRST = NOW_MS // HOUR_MS
HISTORY = {"late_hours": 24, "late_file_hours": 4}


class Archiving:
    """A rollup's archive in which everything is settled, and the views that were sent."""

    def __init__(self, root: Path) -> None:
        self.rollup = LocalRollup(root, RULES, {}, **HISTORY)
        self.sent: list[Event] = []
        self._random = random.Random(3)
        self._away = root / "away"

    def hour(self, number: int) -> None:
        """Records of an hour: new views, and repeats of those of the last ten minutes."""
        for minute in (5, 15, 25, 35, 45, 55):
            at = NOW_MS + number * HOUR_MS + minute * MINUTE_MS
            mine = [self._view(at - self._random.randrange(MINUTE_MS)) for _ in range(8)]
            again = [event for event in self.sent[-8:-6] if event[3] > at - 11 * MINUTE_MS]
            events = [*mine, *again]
            self.sent += mine
            self.rollup.archive(
                (at, salt, encode(salt, [event for event in events if salt_of(event[0], RULES.salts) == salt], at))
                for salt in range(RULES.salts)
            )
        self.settle()

    def settle(self) -> None:
        """As if all of it had been there for hours."""
        for path in (self.rollup.root / "archive").rglob("part-*"):
            os.utime(path, (time.time() - 10_000, time.time() - 10_000))

    def hold_back(self, number: int, place: int) -> Path:
        """One file of an hour of the first partition, which the archive has not committed yet."""
        hour = FIRST + number
        (folder,) = (self.rollup.root / "archive").glob(f"*/arrival_hour={hour % 24:02}/kafka_partition=0")
        path = sorted(folder.iterdir(), key=lambda one: int(one.name.split("-")[1].split(".")[0]))[place]
        self._away.mkdir(exist_ok=True)
        shutil.move(path, self._away / path.name)
        return path

    def commit(self, path: Path) -> None:
        """The archive job is back. The file bears the time when it was made."""
        shutil.move(self._away / path.name, path)

    def totals(self) -> dict[str, int]:
        """By video, as the table has them."""
        rows = self.rollup.tables.get("view_totals", {}).values()
        return {
            bytes(row["video_id"]).decode(): int.from_bytes(row["views"], "big")  # type: ignore[call-overload, arg-type]
            for row in rows
        }

    def expected(self) -> dict[str, int]:
        """By video, all that was viewed in hours that are complete."""
        through = self.rollup.manifest().through_hour * HOUR_MS
        return dict(Counter(video for _, video, _, viewed_ms in self.sent if viewed_ms < through))

    def _view(self, viewed_ms: int) -> Event:
        identity = uuid.UUID(int=self._random.getrandbits(128)).bytes
        return identity, f"video-{self._random.randrange(4)}", "view", viewed_ms


@pytest.fixture
def archiving(tmp_path: Path) -> Archiving:
    return Archiving(tmp_path / "root")


def test_a_file_that_comes_late_is_counted_with_all_that_it_decides(archiving: Archiving) -> None:
    for number in range(5):
        archiving.hour(number)
    late = archiving.hold_back(1, 2)
    manifest = archiving.rollup.run()
    assert sum(manifest.missing.values()) > 0
    assert FIRST + 1 in manifest.gap_hours
    register = archiving.rollup.registers.read()
    assert register is not None
    assert register.applied is not None
    assert register.applied.missing == manifest.missing
    assert any(first <= FIRST + 1 <= last for first, last in register.applied.gap_hours)
    assert sum(archiving.totals().values()) < sum(archiving.expected().values())

    archiving.commit(late)
    archiving.hour(5)
    manifest = archiving.rollup.run()
    assert (manifest.missing, manifest.gap_hours) == ({}, [])
    assert archiving.totals() == archiving.expected()
    # Nothing is left to do.
    assert archiving.rollup.run() == manifest


def test_it_is_counted_also_when_no_other_hour_has_closed(archiving: Archiving) -> None:
    for number in range(4):
        archiving.hour(number)
    late = archiving.hold_back(1, 0)
    archiving.rollup.run()
    archiving.commit(late)
    archiving.rollup.run()
    assert archiving.totals() == archiving.expected()


def test_a_file_that_comes_too_late_is_said_to_be_missing_for_good(archiving: Archiving) -> None:
    for number in range(3):
        archiving.hour(number)
    late = archiving.hold_back(1, 2)
    lacking = archiving.rollup.run()
    for number in range(3, 9):
        archiving.hour(number)
        archiving.rollup.run()
    archiving.commit(late)
    archiving.hour(9)
    manifest = archiving.rollup.run()
    assert manifest.final_missing == lacking.missing == manifest.missing
    assert set(lacking.gap_hours) <= set(manifest.gap_hours) == set(manifest.final_gap_hours)


def test_another_topic_of_the_same_name_is_refused_before_anything_is_counted(archiving: Archiving) -> None:
    rollup = archiving.rollup
    rollup.topic_id = "first"
    for number in range(3):
        archiving.hour(number)
    manifest, totals = rollup.run(), archiving.totals()
    assert manifest.topic_id == "first"
    # Its offsets begin at 0 again.
    rollup._offsets = dict.fromkeys(rollup._offsets, 0)
    rollup.topic_id = "second"
    for number in range(3, 6):
        archiving.hour(number)
    with pytest.raises(HistoryError, match=r"was deleted and made anew: Kafka's id of it is second, .* is of first"):
        rollup.run()
    assert (rollup.manifest(), archiving.totals()) == (manifest, totals)


def test_so_is_one_that_the_archive_is_not_of(archiving: Archiving) -> None:
    rollup = archiving.rollup
    store, path = pyarrow.fs.LocalFileSystem(), rollup.settings.archive.path
    archiving.hour(0)
    archiving.hour(1)
    mark_topic(store, path, TopicMarker("view-events", "of-the-archive"))
    rollup.topic_id = "another"
    with pytest.raises(HistoryError, match=r"Kafka's id of it is another, .* is of of-the-archive"):
        rollup.run()
    rollup.topic_id = "of-the-archive"
    assert rollup.run().run == 1


def test_offsets_that_no_record_has_are_no_gap_and_others_are_told_by_hour_of_arrival(archiving: Archiving) -> None:
    rollup = archiving.rollup
    archiving.hour(0)
    archiving.hour(1)
    # As a transaction's marker leaves it.
    rollup.empty.add((0, rollup._offsets[0]))
    rollup._offsets[0] += 1
    archiving.hour(2)
    # And what neither the archive nor Kafka has.
    rollup._offsets[0] += 5
    archiving.hour(3)
    archiving.hour(4)
    manifest = rollup.run()
    assert (manifest.missing, manifest.missing_hours) == ({0: 5}, {FIRST + 2: 5})
    register = rollup.registers.read()
    assert register is not None
    assert register.applied is not None
    assert register.applied.missing_hours == {FIRST + 2: 5}
    assert FIRST not in manifest.gap_hours
    # For good, too.
    for number in range(5, 12):
        archiving.hour(number)
    manifest = rollup.run()
    assert (manifest.final_missing, manifest.final_missing_hours) == ({0: 5}, {FIRST + 2: 5})
    assert manifest.missing_hours == {FIRST + 2: 5}
