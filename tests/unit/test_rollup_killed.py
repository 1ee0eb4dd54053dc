"""A rollup that is killed anywhere and run again leaves the history, and the tables, of one that is left in peace."""

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import pytest

from tests.support.local_rollup import (
    KEYS,
    KilledError,
    LocalRollup,
    Steps,
    Tables,
    blocked_for_good,
    metadata_records,
)
from tests.support.random_streams import BLOCKED, MINUTE_MS, NOW_MS, RULES, Event, encode
from tests.support.records import salt_of
from udfs.logic.history.manifest import DATA_SETS, MANIFEST, Manifest, SliceName, slice_folder

# Together they take seconds, some by what they build first: the fast tier leaves them out.
pytestmark = pytest.mark.slow

HOUR_MS = 60 * MINUTE_MS
# Hours from NOW_MS, a midnight, that have records: the first rollup counts those before the last of these.
FIRST = (22, 23, 24, 25)
# The second also counts hour 25, in which some come late for hours 22 and 24; nothing is added to day 0 after it.
LAST = 24 * 3
# One that comes after, so that hour 72 closes.
NEXT = LAST + 1
VIDEOS = 6
# Tables that others write, and the one of changes of marked views, of which there are none here.
NOT_A_ROLLUPS = {
    "views_by_minute", "ledger", "progress", "top_videos", "missing_records", "day_history",
    *(name for name in KEYS if name.startswith(("audit_", "imported_"))),
}  # fmt: skip
# Of every second video a channel is known, and some viewers are blocked.
KEPT = {
    "video-metadata": metadata_records({f"video-{n}": f"c-{n % 4}" for n in range(0, VIDEOS, 2)}),
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
            mine = [event for event in events if salt_of(event[0], RULES.salts) == salt]
            yield now_ms, salt, encode(salt, mine, now_ms)


# Tables by name, of these the rows by primary key, of these the values by column.
PlainTables = dict[str, dict[tuple[object, ...], dict[str, object]]]


@dataclass
class Ended:
    """What there is after a rollup, without what differs by attempt: tokens, times and the names of files."""

    manifest: Manifest
    files: dict[tuple[str, int, int], bytes]
    tables: PlainTables
    unnamed: set[str]

    @classmethod
    def of(cls, rollup: LocalRollup) -> Self:
        """As it is now; `unnamed` are files that no kept manifest names."""
        register = rollup.registers.read()
        assert register is not None
        assert register.applied is not None
        assert register.applied.manifest == register.manifest
        root, manifest = rollup.root / "history", rollup.manifest()
        files = {
            (data_set, at, shard): (root / path).read_bytes()
            for data_set, by_time in manifest.files.items()
            for at, of in by_time.items()
            for shard, path in of.items()
        }
        kept = [rollup.store.manifest(name, RULES.shards) for name in register.all_kept]
        named = {*register.all_kept, *(path for one in kept for path in one.all_files)}
        named |= {f"{slice_folder(name)}/{file}" for one in kept for name in one.all_slices for file in SLICE_FILES}
        there = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} - {MANIFEST}
        return cls(_plain(manifest), files, _without_times(rollup.tables), there - named)


SLICE_FILES = ("slice.json", "cells.parquet", "countries.parquet", "viewers.parquet", "known.parquet", "memory.bin")


def _plain(manifest: Manifest) -> Manifest:
    def plain(name: SliceName) -> SliceName:
        return msgspec.structs.replace(name, made="")

    return msgspec.structs.replace(
        manifest,
        token=0,
        before="",
        made_ms=0,
        files={},
        # Copies have their archives elsewhere.
        settings={},
        slices={hour: sorted(map(plain, names)) for hour, names in manifest.slices.items()},
        last_slices={partition: plain(name) for partition, name in manifest.last_slices.items()},
        counted={
            partition: [msgspec.structs.replace(one, name=plain(one.name)) for one in of]
            for partition, of in manifest.counted.items()
        },
    )


def _without_times(tables: Tables) -> PlainTables:
    """Rows as they are, but for when a change of a day was noted."""
    return {
        table: {key: {name: value for name, value in row.items() if name != "at"} for key, row in rows.items()}
        for table, rows in tables.items()
    }


@pytest.fixture(scope="module")
def due(tmp_path_factory: pytest.TempPathFactory) -> LocalRollup:
    """A rollup is over, and another is due: it adds late events to hours, and ends a day."""
    # Slices of few events, so that hours are several; late events for a day, so that day 0 ends.
    root = tmp_path_factory.mktemp("due") / "root"
    rollup, views = LocalRollup(root, RULES, KEPT, late_hours=24, late_file_hours=0, slice_events_max=25), Views()
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
    # What shards made for files of all shards goes with the next rollup.
    assert {path.split("/")[0] for path in ended.unnamed} == {"parts"}
    return ended, steps.done


def test_what_is_killed_here_is_all_that_a_rollup_does(due: LocalRollup, peace: tuple[Ended, int]) -> None:
    before, (after, steps) = Ended.of(due), peace
    assert after.manifest.run == before.manifest.run + 1
    # Late events changed hours of the first, day 0 is over, and every table and data set has something.
    changed = [at for at, file in after.files.items() if at[0] == "hours" and file != before.files.get(at)]
    assert len(changed) > 3
    assert after.manifest.forgotten_before == NOW_MS // HOUR_MS + FIRST[-1] + 1 - 24
    assert {data_set for data_set, _, _ in after.files} == set(DATA_SETS)
    assert set(after.tables) == set(KEYS) - NOT_A_ROLLUPS
    assert steps > 100


def test_killed_at_every_step_in_turn_and_run_again(due: LocalRollup, peace: tuple[Ended, int], tmp_path: Path) -> None:
    """Each finds what the one before left, and gets further."""
    rollup, (expected, steps) = due.copy(tmp_path / "root"), peace
    # From where rows are written on, every step.
    for step in sorted({*range(0, steps, 7), *range(steps - 12, steps + 1)}):
        try:
            rollup.run(Steps(step))
        except KilledError:
            if rollup.manifest().run == expected.manifest.run:
                break
    # Its manifest is published: the next one writes the rows that it owes, and counts nothing.
    rollup.run()
    ended = Ended.of(rollup)
    assert (ended.manifest, ended.files, ended.tables) == (expected.manifest, expected.files, expected.tables)


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
        assert (ended.manifest, ended.files, ended.tables) == (expected.manifest, expected.files, expected.tables)
        Views().close(rollup, NEXT)
        rollup.run()
        ended = Ended.of(rollup)
        assert (ended.manifest, ended.files, ended.tables) == (
            nothing_left.manifest, nothing_left.files, nothing_left.tables
        ), step  # fmt: skip
        # In a folder, whoever is killed while the copy of the manifest is put in its place leaves a hidden file.
        left_over = {path for path in ended.unnamed if not path.startswith(("parts/", f".{MANIFEST}."))}
        assert left_over == set(), step


def test_a_day_ends_on_which_no_channel_was_known(tmp_path: Path) -> None:
    rollup, views = LocalRollup(tmp_path, RULES, {}, late_hours=24, late_file_hours=0), Views()
    rollup.archive(views.hour(22))
    views.close(rollup, LAST)
    views.close(rollup, NEXT)
    manifest = rollup.run()
    assert manifest.forgotten_before > NOW_MS // HOUR_MS + 24
    # Its hours were counted by channel, and there is nothing in them.
    paths = {of[0] for of in manifest.files["channels"].values()}
    assert paths
    assert {rollup.store.get(path).num_rows for path in paths} == {0}


def test_a_rollup_goes_on_while_any_partition_has_hours_that_are_over(tmp_path: Path) -> None:
    """Of one nothing came for longer than is counted at once, and of the other all that there is was counted."""
    rollup, views = LocalRollup(tmp_path, RULES, {}, late_hours=24, late_file_hours=0, hours_at_once=3), Views()

    def archive(partition: int, *hours: int) -> None:
        for hour in hours:
            records = views._records(NOW_MS + hour * HOUR_MS, [])
            rollup.archive(one for one in records if one[1] % rollup.settings.kafka.partitions == partition)

    archive(0, 0, 1, 50)
    archive(1, 0, 1)
    rollup.run()
    archive(0, 51)
    archive(1, 60)
    assert rollup.run().last_hours == {0: NOW_MS // HOUR_MS + 50, 1: NOW_MS // HOUR_MS + 1}
