"""A rollup that is killed anywhere and run again leaves the history, and the tables, of one that is left in peace."""

import copy
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.support.local_rollup import (
    KEYS,
    KilledError,
    LocalRollup,
    Steps,
    Tables,
    blocked_for_good,
    known_videos,
)
from tests.support.random_streams import BLOCKED, MINUTE_MS, NOW_MS, RULES, Event, encode
from tests.support.records import salt_of
from udfs.logic.history import DATA_SETS, Manifest

HOUR_MS = 60 * MINUTE_MS
# Hours from NOW_MS, a midnight, that have records: the first rollup counts those before the last of these.
FIRST = (22, 23, 24, 25)
# The second also counts hour 25, in which some come late for hours 22 and 24; nothing is added to day 0 after it.
LAST = 24 * 3
# One that comes after, so that hour 72 closes.
NEXT = LAST + 1
VIDEOS = 6
# Of every second video a channel is known, and some viewers are blocked.
KEPT = {
    "video-metadata": known_videos({f"video-{n}": f"c-{n % 4}" for n in range(0, VIDEOS, 2)}),
    "blocked-viewers": blocked_for_good(BLOCKED, NOW_MS),
}


class Views:
    """Makes the records of an hour, with repeats of what it made before."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        self._made: list[Event] = []

    def hour(self, hour: int, late_for: tuple[int, ...] = ()) -> Iterator[tuple[int, int, bytes]]:
        """(record_ms, salt, value), a record of each salt at the hour's start, middle and end."""
        for minute in (0, 30, 59):
            now_ms = NOW_MS + hour * HOUR_MS + minute * MINUTE_MS
            events = [self._view(now_ms - self._random.randrange(3 * MINUTE_MS)) for _ in range(12)]
            events += [self._view(NOW_MS + late * HOUR_MS + 5) for late in late_for for _ in range(3)]
            events += self._random.sample(self._made, min(6, len(self._made)))
            self._made += events
            yield from self._records(now_ms, events)

    def close(self, rollup: LocalRollup, hour: int) -> None:
        """Archive an empty record of each salt in an hour, so that those before it are over."""
        rollup.archive(self._records(NOW_MS + hour * HOUR_MS, []))

    def _view(self, viewed_at: int) -> Event:
        r = self._random
        identity = uuid.UUID(int=r.getrandbits(128)).bytes
        return identity, f"video-{r.randrange(VIDEOS)}", r.choice(["view", "view", "like"]), viewed_at

    def _records(self, now_ms: int, events: list[Event]) -> Iterator[tuple[int, int, bytes]]:
        for salt in range(RULES.salts):
            yield now_ms, salt, encode(salt, [event for event in events if salt_of(event[0], RULES.salts) == salt])


@dataclass
class Ended:
    """What there is after a rollup: the manifest, files and tables."""

    manifest: Manifest
    files: dict[str, bytes]
    tables: Tables

    @classmethod
    def of(cls, rollup: LocalRollup) -> Self:
        """As it is now. Of the files, those of data sets."""
        root = rollup.root / "history"
        paths = (path for data_set in DATA_SETS for path in (root / data_set).rglob("*.parquet"))
        files = {str(path.relative_to(root)): path.read_bytes() for path in paths}
        return cls(rollup.manifest(), files, copy.deepcopy(rollup.tables))

    def named(self) -> dict[str, bytes]:
        """The files that the manifest names."""
        sets = self.manifest.files.values()
        return {path: self.files[path] for by_time in sets for of in by_time.values() for path in of.values()}


@pytest.fixture(scope="module")
def due(tmp_path_factory: pytest.TempPathFactory) -> LocalRollup:
    """A rollup is over, and another is due: it adds late events to hours, and ends a day."""
    # Slices of few events, so that hours are several; late events for a day, so that day 0 ends.
    root = tmp_path_factory.mktemp("due") / "root"
    rollup, views = LocalRollup(root, RULES, KEPT, late_hours=24, slice_events_max=25), Views()
    for hour in FIRST:
        rollup.archive(views.hour(hour))
    rollup.run()
    rollup.archive(views.hour(FIRST[-1] + 1, late_for=(22, 24)))
    views.close(rollup, LAST)
    return rollup


@pytest.fixture(scope="module")
def peace(due: LocalRollup, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, int]:
    """What it leaves when nothing disturbs it, and in how many steps."""
    rollup, steps = due.copy(tmp_path_factory.mktemp("peace") / "root"), Steps()
    rollup.run(steps)
    ended = Ended.of(rollup)
    assert ended.files == ended.named()
    return ended, steps.done


def test_what_is_killed_here_is_all_that_a_rollup_does(due: LocalRollup, peace: tuple[Ended, int]) -> None:
    before, (after, steps) = due.manifest(), peace
    assert after.manifest.run == before.run + 1
    # Late events changed hours of the first, day 0 is over, and every table and data set has something.
    changed = [hour for hour, of in after.manifest.files["hours"].items() if of != before.files["hours"].get(hour)]
    assert len(changed) > 3
    assert after.manifest.forgotten_before == NOW_MS // HOUR_MS + FIRST[-1] + 1 - 24
    assert all(after.manifest.files[data_set] for data_set in DATA_SETS)
    assert set(after.tables) == {name for name in KEYS if name.startswith(("views_by_hour", "views_by_day"))} | {
        "view_totals", "channel_views_by_hour", "top_videos_by_hour", "top_videos_by_day"
    }  # fmt: skip
    assert steps > 100


def test_killed_at_every_step_in_turn_and_run_again(due: LocalRollup, peace: tuple[Ended, int], tmp_path: Path) -> None:
    """Each goes on from what the one before left, and gets one step further."""
    rollup, (expected, steps) = due.copy(tmp_path / "root"), peace
    before = due.manifest()
    for step in range(steps):
        try:
            rollup.run(Steps(step))
        except KilledError:
            if rollup.manifest() != before:
                break
            continue
        break
    ended = Ended.of(rollup)
    assert ended.manifest == expected.manifest
    assert ended.named() == expected.files
    assert ended.tables == expected.tables


def test_killed_anywhere_the_rollup_after_the_next_leaves_nothing_behind(
    due: LocalRollup, peace: tuple[Ended, int], tmp_path: Path
) -> None:
    """Also killed once the manifest is published: what was to be deleted then is deleted by the next one."""
    expected, steps = peace
    left = due.copy(tmp_path / "peace")
    left.run()
    Views().close(left, NEXT)
    left.run()
    nothing_left = Ended.of(left)
    for step in sorted({*range(3, steps, 17), steps - 1}):
        rollup = due.copy(tmp_path / str(step))
        with pytest.raises(KilledError):
            rollup.run(Steps(step))
        rollup.run()
        ended = Ended.of(rollup)
        assert (ended.manifest, ended.named(), ended.tables) == (expected.manifest, expected.files, expected.tables)
        Views().close(rollup, NEXT)
        rollup.run()
        assert Ended.of(rollup) == nothing_left, step


def test_a_day_ends_on_which_no_channel_was_known(tmp_path: Path) -> None:
    rollup, views = LocalRollup(tmp_path, RULES, {}, late_hours=24), Views()
    rollup.archive(views.hour(22))
    views.close(rollup, LAST)
    views.close(rollup, NEXT)
    manifest = rollup.run()
    assert manifest.forgotten_before > NOW_MS // HOUR_MS + 24
    assert manifest.files["channels"] == {}
