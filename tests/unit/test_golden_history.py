"""Histories that code of every version of the manifest has written are carried on by this code, exactly."""

import json
import shutil
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from settings.durations import HOUR_MS
from tests.support import golden_history as golden
from tests.support.golden_history import Hour, View
from tests.support.local_rollup import LocalRollup, metadata_records
from tests.support.memory_registers import MemoryRegisters
from udfs.logic.history.channel_sums import CHANNEL_TOPS
from udfs.logic.history.manifest import DATA_SETS, MANIFEST, VERSION, HistoryError, Manifest, read_manifest
from udfs.logic.history.manifest_versions import STEPS
from udfs.logic.history.register import KEPT_MANIFESTS, Register
from udfs.logic.stream.kept_settings import of_history

# Together they take seconds, some by what they build first: the fast tier leaves them out.
pytestmark = pytest.mark.slow

NAMES = sorted(path.name for path in golden.FOLDER.iterdir())
# After what is golden, hour 49 of which is archived and not counted. Of day 3, so that it has viewers of its own.
NEXT = (Hour(50, late_for=(47, 48), repeats_of=(26, 47, 48)), Hour(73, late_for=(50,), repeats_of=(50,)))
END = (Hour(98, is_empty=True), Hour(99, is_empty=True))
# An hour each, until no manifest is kept that was there before them.
AFTER = tuple(Hour(100 + n, is_empty=True) for n in range(KEPT_MANIFESTS + 1))
# What the register of a history lies in, from version 4 on.
REGISTER = "register.json"
FIRST_DAY = golden.START_HOUR // 24
Rows = list[dict[str, Any]]


def unpack(name: str, root: Path) -> LocalRollup:
    """The golden history, its register, made where there was none, and the archive that it was counted from."""
    history = root / "history"
    with tarfile.open(golden.FOLDER / name / "files.tar.xz") as tar:
        tar.extractall(history, filter="data")
    shutil.copy(golden.FOLDER / name / MANIFEST, history)
    rollup = LocalRollup(root, golden.RULES, {"video-metadata": metadata_records(golden.CHANNELS)}, **golden.HISTORY)
    for hours in golden.GOLDEN:
        rollup.archive(golden.records(hours))
    content = golden.FOLDER / name / REGISTER
    if content.exists():
        register = msgspec.json.decode(content.read_bytes(), type=Register)
        rollup.registers = MemoryRegisters(msgspec.structs.replace(register, path=str(history)))
    else:
        rollup.make_register()
    return rollup


def kept_manifests(rollup: LocalRollup) -> list[Manifest]:
    register = rollup.registers.read()
    assert register is not None
    return [rollup.store.manifest(name, golden.RULES.shards) for name in register.all_kept]


def rows_of(rollup: LocalRollup, data_set: str) -> dict[int, Rows]:
    """By file: hours of a day may lie in one, which has what its column says."""
    paths = defaultdict(list)
    for at, of in rollup.manifest().files[data_set].items():
        for path in of.values():
            paths[path].append(at)
    found: dict[int, Rows] = defaultdict(list)
    for path, times in paths.items():
        found[times[0]] += rollup.store.get(path).to_pylist()
    return found


def hourly(rollup: LocalRollup, data_set: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(hour viewed, row)."""
    for rows in rows_of(rollup, data_set).values():
        for row in rows:
            at = row["minute" if data_set == "minutes" else "hour"]
            yield int(at.timestamp()) // 3600 - golden.START_HOUR, row


def hours_in(rollup: LocalRollup) -> dict[tuple[str, str, int], tuple[int, int]]:
    """What there is, as golden_history.hours_of has it."""
    return {
        (row["video_id"], row["kind"], hour): (row["views"], row["late_added"]) for hour, row in hourly(rollup, "hours")
    }


def totals_in(rollup: LocalRollup) -> dict[tuple[str, str], tuple[int, int]]:
    return {
        (row["video_id"], row["kind"]): (row["views"], row["late_added"])
        for row in rows_of(rollup, "totals").get(0, [])
    }


def summed(counts: dict[tuple[str, str, int], tuple[int, int]], by: int) -> dict[tuple[str, str, int], tuple[int, int]]:
    """Hours in sums of so many."""
    views, late = Counter[tuple[str, str, int]](), Counter[tuple[str, str, int]]()
    for (video, kind, hour), (all_views, late_added) in counts.items():
        views[video, kind, hour // by] += all_views
        late[video, kind, hour // by] += late_added
    return {cell: (n, late[cell]) for cell, n in views.items()}


def check_views(rollup: LocalRollup, views: Iterable[View], through: int) -> None:
    """Minutes, hours, days and totals are just of these views."""
    views = [view for view in views if view.hour < through]
    hours = golden.hours_of(views, through)
    assert hours_in(rollup) == hours
    minutes = Counter((view.video, view.kind, view.viewed_ms // golden.MINUTE_MS) for view in views)
    found = Counter[tuple[str, str, int]]()
    for _, row in hourly(rollup, "minutes"):
        found[row["video_id"], row["kind"], int(row["minute"].timestamp()) // 60] += row["views"]
    assert found == minutes
    days = {
        (row["video_id"], row["kind"], day - FIRST_DAY): (row["views"], row["late_added"])
        for day, rows in rows_of(rollup, "days").items()
        for row in rows
    }
    assert days == summed(hours, 24)
    assert totals_in(rollup) == {cell[:2]: counts for cell, counts in summed(hours, through).items()}


def check_countries(rollup: LocalRollup, views: list[View], *, known: bool) -> None:
    """Of hours that have countries, as many views as the hours; of which country too, if all slices say it."""
    found: dict[int, Counter[tuple[str, str, str]]] = defaultdict(Counter)
    for hour, row in hourly(rollup, "countries"):
        found[hour][row["video_id"], row["kind"], row["country"]] += row["views"]
    expected: dict[int, Counter[tuple[str, str, str]]] = defaultdict(Counter)
    for view in views:
        country = (view.country or "").upper()
        expected[view.hour][view.video, view.kind, country if country.isalpha() else ""] += 1
    for hour, counts in found.items():
        assert by_video(counts) == by_video(expected[hour]), hour
        if known or hour > golden.THROUGH:
            assert counts == expected[hour], hour
    # Those that were counted in time by today's code, or again since, and where it was known, all.
    assert found.keys() >= ({view.hour for view in views} if known else {47, 48, 49, 50, 73})


def by_video(counts: Counter[tuple[str, str, str]]) -> Counter[tuple[str, str]]:
    found = Counter[tuple[str, str]]()
    for (video, kind, _), views in counts.items():
        found[video, kind] += views
    return found


def check_channels(rollup: LocalRollup, views: list[View]) -> None:
    """Of hours that have channels, all views of those that are known."""
    found: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    for hour, row in hourly(rollup, "channels"):
        found[hour][row["channel_id"], row["kind"]] += row["views"]
    expected: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    for view in views:
        if view.video in golden.CHANNELS:
            expected[view.hour][golden.CHANNELS[view.video], view.kind] += 1
    assert {47, 48, 49, 50, 73} <= found.keys()
    assert found == {hour: expected[hour] for hour in found}


def check_of_channels(rollup: LocalRollup, views: list[View]) -> None:
    """Totals are the sums of hours that have channels. Lists are those of days that this code has counted."""
    known = [view for view in views if view.video in golden.CHANNELS]
    found: Counter[tuple[str, str]] = Counter()
    for rows in rows_of(rollup, "channels").values():
        for row in rows:
            found[row["channel_id"], row["kind"]] += row["views"]
    (totals,) = rows_of(rollup, "channel_totals").values()
    assert {(row["channel_id"], row["kind"]): row["views"] for row in totals} == found
    for day, rows in rows_of(rollup, "channel_top_days").items():
        counted = Counter(
            (golden.CHANNELS[view.video], view.kind, view.video) for view in known if view.hour // 24 == day - FIRST_DAY
        )
        lists: dict[tuple[str, str], list[tuple[int, str]]] = {}
        for (channel, kind, video), number in counted.items():
            lists.setdefault((channel, kind), []).append((-number, video))
        wanted = [
            (channel, kind, rank, video, -number)
            for (channel, kind), of in sorted(lists.items())
            for rank, (number, video) in enumerate(sorted(of), start=1)
        ]
        assert [tuple(row[name] for name in CHANNEL_TOPS.names) for row in rows] == wanted


def check_kinds(rollup: LocalRollup, views: list[View]) -> None:
    wanted: dict[str, set[str]] = {}
    for view in views:
        wanted.setdefault(view.video, set()).add(view.kind)
    rows = rollup.tables["video_kinds"].values()
    assert {_text(row["video_id"]): set(json.loads(_text(row["kinds"]))) for row in rows} == wanted


def _text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode()


def check_top_days(rollup: LocalRollup, views: list[View]) -> None:
    """Of days that were counted again, all videos: they are fewer than a list has places."""
    found = {
        (day - FIRST_DAY, row["kind"], row["video_id"]): row["views"]
        for day, rows in rows_of(rollup, "top_days").items()
        for row in rows
        if row["country"] == "*" and day > FIRST_DAY
    }
    assert found == Counter((view.hour // 24, view.kind, view.video) for view in views if view.hour >= 24)


def check_devices(rollup: LocalRollup, *, first_day: int) -> None:
    """No event of a golden history names a device: of days from the first one with devices, all views are by none."""
    found = {}
    for day, rows in rows_of(rollup, "devices").items():
        assert {row["device"] for row in rows} == {""}
        found[day - FIRST_DAY] = {(row["video_id"], row["kind"]): row["views"] for row in rows}
    days = {
        day - FIRST_DAY: {(row["video_id"], row["kind"]): row["views"] for row in rows}
        for day, rows in rows_of(rollup, "days").items()
    }
    assert found == {day: of for day, of in days.items() if day >= first_day}


def viewers_of(views: Iterable[View]) -> dict[int, dict[tuple[str, str], Counter[str]]]:
    """By day, video and kind, the viewers that are known, and how often they viewed."""
    found: dict[int, dict[tuple[str, str], Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for view in views:
        if view.viewer:
            found[view.hour // 24][view.video, view.kind][view.viewer] += 1
    return found


def check_viewers(rollup: LocalRollup, views: list[View], days: set[int], marked_days: set[int]) -> None:
    """Of just these days, all viewers and what each viewed beyond the rule."""
    expected, most = viewers_of(views), golden.HISTORY["viewer_day_max"]
    viewers = {
        day - FIRST_DAY: {(row["video_id"], row["kind"]): row["viewers"] for row in rows}
        for day, rows in rows_of(rollup, "viewers").items()
    }
    assert viewers == {day: {name: len(of) for name, of in expected[day].items()} for day in days}
    marked = {
        day - FIRST_DAY: {(row["video_id"], row["kind"]): row["marked"] for row in rows}
        for day, rows in rows_of(rollup, "marks").items()
    }
    excess = {
        day: {name: sum(max(0, n - most) for n in of.values()) for name, of in expected[day].items()}
        for day in marked_days
    }
    assert marked == {day: {name: n for name, n in of.items() if n} for day, of in excess.items()}


def test_every_version_has_a_golden_history() -> None:
    """Whoever raises VERSION makes one of the version that is written now (tests/golden/make_history.py)."""
    assert {f"v{version}" for version in range(1, VERSION + 1)} <= set(NAMES)
    assert {json.loads((golden.FOLDER / name / MANIFEST).read_text())["version"] for name in NAMES} == set(
        range(1, VERSION + 1)
    )
    assert set(STEPS) == set(range(1, VERSION))
    # From the fourth on a register says what is in force.
    has_register = {name for name in NAMES if (golden.FOLDER / name / REGISTER).exists()}
    assert has_register == {name for name in NAMES if int(name.removeprefix("v").partition("-")[0]) >= 4}


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_was_made_of(name: str, tmp_path: Path) -> None:
    expected_text = (golden.FOLDER / name / "expected.json").read_text()
    assert expected_text == golden.expected_text()
    expected = json.loads(expected_text)
    rollup = unpack(name, tmp_path)
    manifest = rollup.manifest()
    assert (manifest.version, manifest.run) == (VERSION, 2)
    assert set(manifest.files) == set(DATA_SETS)
    # Its files are all there, and the tables have what it says.
    assert rollup.store.missing_files(manifest) == []
    register = rollup.registers.read()
    assert register is not None
    assert register.applied is not None
    assert register.applied.manifest == register.manifest
    assert register.applied.through_hour == golden.START_HOUR + golden.THROUGH
    assert sorted([*cell, *counts] for cell, counts in hours_in(rollup).items()) == expected["hours"]
    assert sorted([*names, *counts] for names, counts in totals_in(rollup).items()) == expected["totals"]


# In the fast tier, from the newest.
GOES_ON = [pytest.param(name, marks=() if name == f"v{VERSION}" else pytest.mark.slow) for name in NAMES]


@pytest.mark.parametrize("name", GOES_ON)
def test_counting_goes_on_from_it(name: str, tmp_path: Path) -> None:
    is_first, knows_marks = name == "v1", int(name.removeprefix("v").partition("-")[0]) >= 3
    rollup = unpack(name, tmp_path)
    rollup.archive(golden.records(NEXT))
    says_settings = int(name.removeprefix("v").partition("-")[0]) >= 5
    with pytest.raises(HistoryError, match=r"archive.path=" if says_settings else r"history does not say that it was"):
        rollup.run()
    # Once.
    rollup.accepts = True
    manifest = rollup.run()
    rollup.accepts = False
    assert manifest.settings == of_history(rollup.settings).values
    # The hour of arrival 73 is open.
    assert (manifest.version, manifest.run, through(manifest)) == (VERSION, 3, 72)
    counted = golden.new_views([*golden.FIRST, *golden.SECOND, NEXT[0]])
    check_views(rollup, counted, 72)
    # Day 1 was complete before, and has been marked by no rules where there were none.
    known_days = set() if is_first else {0, 1, 2}
    viewed_days = {day - FIRST_DAY for day in manifest.files["viewers"]}
    assert viewed_days == known_days
    assert {day - FIRST_DAY for day in manifest.files["marks"]} == known_days - (set() if knows_marks else {0})

    rollup.archive(golden.records(END))
    manifest = rollup.run()
    # Hour 98 by itself, which is more than history.hours_at_once after 73.
    assert (manifest.run, through(manifest)) == (5, 98)
    assert manifest.forgotten_before == golden.START_HOUR + 72
    counted = golden.new_views([*golden.FIRST, *golden.SECOND, *NEXT])
    check_views(rollup, counted, 98)
    check_kinds(rollup, counted)
    check_countries(rollup, counted, known=not is_first)
    check_channels(rollup, counted)
    check_top_days(rollup, counted)
    check_of_channels(rollup, counted)
    # Code of earlier versions counted day 0 without devices, and no later event is of it.
    check_devices(rollup, first_day=0 if name == "v6" else 1)
    # What slices of version 1 do not say is not made up: days 1 and 2 stay without viewers, day 3 has them.
    days = {3} if is_first else {0, 1, 2, 3}
    check_viewers(rollup, counted, days, days if knows_marks else days - {0})
    # Days 1 and 2 are final: each hour is in the file of its day, also those of before.
    for day in (1, 2):
        files = [of for hour, of in manifest.files["hours"].items() if hour // 24 == FIRST_DAY + day]
        assert len(files) > 2
        assert all(of == files[0] for of in files)
    written_now = json.loads((tmp_path / "history" / MANIFEST).read_text())
    assert written_now["version"] == VERSION
    assert written_now["token"] == manifest.token
    # Nothing but what kept manifests name is left.
    assert data_files(rollup) == {path for one in kept_manifests(rollup) for path in one.all_files}
    for hour in AFTER:
        rollup.archive(golden.records([hour]))
        manifest = rollup.run()
    # Of the hours that it was carried on with, too, and no slice from before those that are still to be read.
    kept = kept_manifests(rollup)
    assert manifest.run == 5 + len(AFTER)
    assert [one.run for one in kept] == list(range(manifest.run - KEPT_MANIFESTS, manifest.run + 1))
    assert data_files(rollup) == {path for one in kept for path in one.all_files}
    assert slice_hours(rollup) == {73, *range(98, 103)}
    check_views(rollup, counted, 102)


def data_files(rollup: LocalRollup) -> set[str]:
    root = rollup.root / "history"
    return {str(path.relative_to(root)) for of in DATA_SETS for path in (root / of).rglob("*.parquet")}


def slice_hours(rollup: LocalRollup) -> set[int]:
    """Hours of arrival, a slice of which is there."""
    files = (rollup.root / "history" / "slices").rglob("slice.json")
    hours = {
        int(part.removeprefix("arrival_hour=")) for path in files for part in path.parts if "arrival_hour=" in part
    }
    return {hour - golden.START_HOUR for hour in hours}


def through(manifest: Manifest) -> int:
    """Counted as golden_history's hours are."""
    return manifest.through_hour - golden.START_HOUR


def test_what_repeats_is_known_from_the_golden_slices_alone() -> None:
    """Else the tests above would not tell whether memory, and what is known by the hour, was read."""
    repeats = [view for _, _, again in golden.arrivals([*golden.SECOND[-1:], *NEXT]) for view in again]
    before = {view.event_id for view in golden.new_views([*golden.FIRST, *golden.SECOND[:-1]])}
    in_time = [view for view in repeats if view.hour == 48 and view.viewed_ms % HOUR_MS > 57 * golden.MINUTE_MS]
    late = [view for view in repeats if view.hour in (26, 47)]
    assert in_time
    assert late
    assert {view.event_id for view in (*in_time, *late)} <= before


def test_one_of_a_later_version_is_refused() -> None:
    content = json.loads((golden.FOLDER / f"v{VERSION}" / MANIFEST).read_text())
    later = json.dumps({**content, "version": VERSION + 1}).encode()
    refusal = rf"manifest\.json is of version {VERSION + 1}, this code reads {VERSION}: use newer code"
    with pytest.raises(HistoryError, match=refusal):
        read_manifest(later)


def test_one_of_a_version_that_never_was_is_refused() -> None:
    refusal = r"manifest\.json is of version 0, which this code does not read: count again from the archive"
    with pytest.raises(HistoryError, match=refusal):
        read_manifest(b'{"version": 0}')
