"""Imports: which rows are refused, and what totals and days say of them after each step, whoever is killed."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.durations import HOUR_MS
from tests.support import golden_history as golden
from tests.support.golden_history import Hour
from tests.support.local_rollup import Folder, KilledError, LocalRollup, Stepping, Steps, metadata_records
from tools.history import restore, verify
from tools.history.importing import Importer, copy_imports, cut_over_hour
from udfs.logic.history.imports import IMPORT, ImportRefusedError, check, in_order
from udfs.logic.history.manifest import HistoryError
from udfs.stores.history_store import HistoryStore
from udfs.stores.lease import LeaseHolder

HOURS = (Hour(0, is_empty=True), Hour(1), Hour(2), Hour(3, is_empty=True))
# The day before history begins.
OLD = date(1970, 1, 1) + timedelta(days=golden.START_HOUR // 24 - 1)
Row = tuple[str, str, date | None, datetime | None, int]


def rows(*of: Row) -> pa.Table:
    names = [name for name in IMPORT.names if name != "source"]
    return in_order(
        pa.Table.from_pylist([dict(zip(names, one, strict=True)) | {"source": "old"} for one in of], IMPORT)
    )


def at(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


# --- which rows are refused

WHOLE: Row = ("v", "view", None, None, 5)
OF_DAY: Row = ("v", "view", OLD, None, 5)
OF_HOUR: Row = ("v", "view", OLD, at(OLD, 7), 5)
NEXT_HOUR: Row = ("v", "view", OLD, at(OLD, 8), 5)


def refusal(
    table: pa.Table,
    *,
    cut_over: int = golden.START_HOUR,
    others: dict[str, pa.Table] | None = None,
    overlap: bool = False,
) -> str | None:
    try:
        check(table, cut_over, others or {}, golden.START_HOUR, overlap=overlap)
    except ImportRefusedError as error:
        return str(error)
    return None


@pytest.mark.parametrize("one", [WHOLE, OF_DAY, OF_HOUR])
@pytest.mark.parametrize("other", [WHOLE, OF_DAY, OF_HOUR])
def test_two_rows_of_a_video_whose_times_overlap_are_refused_unless_it_is_said(one: Row, other: Row) -> None:
    found = refusal(rows(one), others={"before": rows(other)})
    assert found is not None
    assert "overlap the import before" in found
    assert "video=v kind=view" in found
    assert refusal(rows(one), others={"before": rows(other)}, overlap=True) is None
    if one != other:
        assert "overlap" in str(refusal(rows(one, other)))
        assert refusal(rows(one, other), overlap=True) is None


def test_rows_of_other_videos_kinds_and_times_do_not_overlap() -> None:
    others = {"before": rows(OF_HOUR, ("w", "view", None, None, 1))}
    fine = [NEXT_HOUR, ("v", "like", OLD, None, 1), ("v", "view", OLD - timedelta(days=1), None, 1)]
    assert refusal(rows(*fine), others=others) is None


def test_a_row_twice_is_refused_whatever_is_said() -> None:
    for row in (WHOLE, OF_DAY, OF_HOUR):
        assert "more than once" in str(refusal(rows(row, row), overlap=True))


def test_nothing_is_imported_of_the_time_of_history() -> None:
    first = datetime.fromtimestamp(golden.START_HOUR * 3600, UTC)
    inside: Row = ("v", "view", first.date(), first, 1)
    # The hour before is on the same day or the one before, and is fine.
    before = first - timedelta(hours=1)
    assert refusal(rows(("v", "view", before.date(), before, 1))) is None
    cut_over = golden.START_HOUR + 48
    assert "with which history begins" in str(refusal(rows(inside), cut_over=cut_over))
    assert refusal(rows(inside), cut_over=cut_over, overlap=True) is None
    assert "cut-over" in str(refusal(rows(WHOLE), cut_over=cut_over))
    assert refusal(rows(WHOLE), cut_over=cut_over, overlap=True) is None
    # Whatever is said, the cut-over holds.
    assert "not before the cut-over" in str(refusal(rows(inside), overlap=True))


def test_a_cut_over_is_a_whole_hour() -> None:
    assert cut_over_hour(golden.START_HOUR * HOUR_MS) == golden.START_HOUR
    with pytest.raises(ImportRefusedError, match="no whole hour"):
        cut_over_hour(golden.START_HOUR * HOUR_MS + 1)


some_rows = st.lists(
    st.tuples(st.sampled_from("vw"), st.sampled_from(["view", "like"]), st.sampled_from([0, 1, 2, 3, 4, 5])),
    min_size=1,
    max_size=4,
)


def row_of(one: tuple[str, str, int]) -> Row:
    """0 has no day, 1 and 2 are days, and of these 3 and 4 are hours of the first."""
    video, kind, when = one
    days = {0: None, 1: OLD, 2: OLD - timedelta(days=1), 3: OLD, 4: OLD, 5: OLD - timedelta(days=1)}
    hours = {3: at(OLD, 1), 4: at(OLD, 2), 5: at(OLD - timedelta(days=1), 1)}
    return video, kind, days[when], hours.get(when), 1


def covered(row: Row) -> set[tuple[str, str, datetime]]:
    """The hours that a row may be of, by brute force."""
    video, kind, day, hour, _ = row
    begin = at(OLD - timedelta(days=1), 0)
    every = [begin + timedelta(hours=n) for n in range(48)]
    return {(video, kind, one) for one in every if hour == one or (hour is None and (day is None or one.date() == day))}


@given(some_rows, some_rows)
def test_overlaps_are_found_as_by_brute_force(
    mine: list[tuple[str, str, int]], theirs: list[tuple[str, str, int]]
) -> None:
    # Those of the other import are not in question.
    kept: list[Row] = []
    for row in map(row_of, theirs):
        if not any(covered(row) & covered(one) for one in kept):
            kept.append(row)
    found = list(map(row_of, mine))
    hours = Counter(hour for row in found for hour in covered(row))
    overlaps = any(n > 1 for n in hours.values()) or any(covered(one) & covered(row) for one in kept for row in found)
    assert (refusal(rows(*found), others={"before": rows(*kept)}) is not None) == overlaps


# --- what is written


class Place:
    """A history of two days, and its imports."""

    def __init__(self, root: Path) -> None:
        self.rollup = LocalRollup(root, golden.RULES, {"video-metadata": metadata_records(golden.CHANNELS)})
        self.rollup.archive(golden.records(HOURS))

    def importer(self, steps: Steps | None = None) -> Importer:
        steps = steps or Steps()
        holder = partial(LeaseHolder, silent_s=0, living_s=0, sleep=lambda _s: None, say=lambda _text: None)
        history = HistoryStore(Folder(steps), self.rollup.settings.history.path)
        return Importer(self.rollup.settings, history, Stepping(self.rollup.registers, steps), holder=holder)

    def do(self, work: Any, steps: Steps | None = None) -> Any:
        steps = steps or Steps()
        with self.rollup._parts(Folder(steps), steps):
            return work(self.importer(steps))

    def add(self, name: str, *of: Row, steps: Steps | None = None, **options: Any) -> Any:
        return self.do(lambda importer: importer.add(name, rows(*of), **options), steps)

    def remove(self, name: str) -> Any:
        return self.do(lambda importer: importer.remove(name))

    def read(self, table: str) -> dict[tuple[object, ...], int]:
        """What is not 0."""
        found = {}
        for row in self.rollup.tables.get(table, {}).values():
            key = tuple(_plain(row[name]) for name in ("video_id", "kind", "day") if name in row)
            views = _number(row["views"])
            if views:
                found[key] = views
        return found

    @property
    def totals(self) -> dict[tuple[object, ...], int]:
        return self.read("imported_totals")

    @property
    def days(self) -> dict[tuple[object, ...], int]:
        return self.read("imported_days")

    @property
    def kinds(self) -> dict[object, object]:
        """Lists of imported kinds that are not empty."""
        rows = self.rollup.tables.get("imported_kinds", {}).values()
        found = {_plain(row["video_id"]): _plain(row["kinds"]) for row in rows}
        return {video: kinds for video, kinds in found.items() if kinds}

    @property
    def register(self) -> Any:
        return self.rollup.registers.read()


def _plain(value: object) -> object:
    if isinstance(value, bytes) and len(value) == 4 and value[0] == 0x80:
        return date(1970, 1, 1) + timedelta(days=int.from_bytes(value, "big") - (1 << 31))
    return value.decode() if isinstance(value, bytes) else value


def _number(value: object) -> int:
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(str(value))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.rollup.run()
    return made


def test_an_import_is_in_tables_of_its_own_under_a_new_revision(place: Place) -> None:
    before, counted = place.register, dict(place.rollup.tables["view_totals"])
    done = place.add("old", WHOLE, ("w", "view", OLD, None, 7), ("w", "like", OLD, at(OLD, 3), 2))
    assert (done.is_new, done.one.views, done.one.cut_over) == (True, 14, golden.START_HOUR)
    assert place.totals == {("v", "view"): 5, ("w", "view"): 7, ("w", "like"): 2}
    assert place.days == {("w", "view", OLD): 7, ("w", "like", OLD): 2}
    assert place.kinds == {"v": '["view"]', "w": '["like","view"]'}
    after = place.register
    assert after.applied.revision > before.applied.revision
    assert (after.applied.imports, after.applied.manifest) == (1, after.manifest)
    assert place.rollup.tables["view_totals"] == counted
    assert place.rollup.store.copied() == place.rollup.manifest()


def test_imports_add_up_and_are_removable_by_name(place: Place) -> None:
    place.add("a", WHOLE)
    place.add("b", ("v", "like", None, None, 1), ("v", "view", OLD, None, 2), overlap=True)
    assert place.totals == {("v", "view"): 7, ("v", "like"): 1}
    assert place.kinds == {"v": '["like","view"]'}
    place.remove("a")
    assert place.kinds == {"v": '["like","view"]'}
    assert place.totals == {("v", "view"): 2, ("v", "like"): 1}
    assert place.days == {("v", "view", OLD): 2}
    place.remove("b")
    assert (place.totals, place.days, place.kinds, place.register.applied.imports) == ({}, {}, {}, 0)
    with pytest.raises(ImportRefusedError, match="name=b is no import; choose one of: there is none"):
        place.remove("b")


def test_the_same_file_again_changes_nothing_and_another_needs_replace(place: Place) -> None:
    place.add("a", WHOLE, OF_DAY, overlap=True)
    register = place.register
    assert not place.add("a", WHOLE, OF_DAY, overlap=True).is_new
    assert place.register.manifest == register.manifest
    with pytest.raises(ImportRefusedError, match="--replace"):
        place.add("a", ("w", "view", None, None, 3))
    place.add("a", ("w", "view", None, None, 3), replace=True)
    assert (place.totals, place.days) == ({("w", "view"): 3}, {})


@pytest.mark.parametrize("name", ["", "A", "a/b", "../a", "a" * 65, "-a"])
def test_a_name_is_a_part_of_a_path(place: Place, name: str) -> None:
    with pytest.raises(ImportRefusedError, match="is no name of an import"):
        place.add(name, WHOLE)


def test_rollups_and_a_restore_keep_imports(place: Place) -> None:
    place.add("a", WHOLE, ("w", "view", OLD, None, 2))
    place.rollup.archive(golden.records((Hour(4), Hour(5, is_empty=True))))
    place.rollup.run()
    assert list(place.rollup.manifest().imports) == ["a"]
    assert place.register.applied.imports == 1
    # Lost with the tables' rows: another import was in force, and its rows must go.
    newest = place.rollup.manifest()
    place.add("b", ("x", "view", OLD, None, 9))
    settings, registers = place.rollup.settings, place.rollup.registers
    place.rollup.store.delete(place.register.manifest)
    restore(registers, place.rollup.store, settings.history.path, settings.counting.shards, now_ms=newest.made_ms)
    with pytest.raises(HistoryError, match="run the rollup"):
        place.add("c", ("y", "view", OLD, None, 1))
    place.rollup.run()
    assert list(place.rollup.manifest().imports) == ["a"]
    assert place.totals == {("v", "view"): 5, ("w", "view"): 2}
    assert place.days == {("w", "view", OLD): 2}
    assert place.kinds == {"v": '["view"]', "w": '["view"]'}
    path, shards = settings.history.path, settings.counting.shards
    assert verify(registers, place.rollup.store, path, shards).is_whole


def test_an_import_can_come_before_the_first_rollup(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.rollup.make_register()
    place.add("a", WHOLE)
    place.rollup.run()
    assert place.totals == {("v", "view"): 5}
    assert place.rollup.manifest().run == 1
    assert list(place.rollup.manifest().imports) == ["a"]


@pytest.mark.slow
def test_killed_at_any_step_an_import_is_there_or_not_and_the_next_one_mends_it(tmp_path: Path) -> None:
    """Afterwards it is imported once more: as if nothing had happened."""
    template = Place(tmp_path / "template")
    template.rollup.run()
    template.add("a", ("v", "view", None, None, 5), ("u", "view", OLD, None, 4))
    new: tuple[Row, ...] = (("v", "view", None, None, 6), ("w", "view", OLD, None, 2))
    for fatal in range(100):
        place = object.__new__(Place)
        place.rollup = template.rollup.copy(tmp_path / str(fatal))
        try:
            place.add("a", *new, replace=True, steps=Steps(fatal))
        except KilledError:
            # A rollup writes what is owed.
            place.rollup.archive(golden.records((Hour(4), Hour(5, is_empty=True))))
            place.rollup.run()
            is_new = place.rollup.manifest().imports["a"].rows == 2 and place.totals != TOTALS_BEFORE
            assert place.totals == (TOTALS_AFTER if is_new else TOTALS_BEFORE)
            place.add("a", *new, replace=True)
            assert (place.totals, place.days) == (TOTALS_AFTER, {("w", "view", OLD): 2})
            assert place.register.applied.manifest == place.register.manifest
            continue
        assert fatal > 5
        assert place.totals == TOTALS_AFTER
        return
    raise AssertionError("it never ends")


TOTALS_BEFORE = {("v", "view"): 5, ("u", "view"): 4}
TOTALS_AFTER = {("v", "view"): 6, ("w", "view"): 2}


def test_a_rebuild_copies_imports(place: Place, tmp_path: Path) -> None:
    place.add("a", WHOLE)
    place.add("b", ("w", "view", OLD, None, 2))
    other = Place(tmp_path / "other")
    other.rollup.run()
    source = place.rollup.store
    assert other.do(lambda importer: copy_imports(importer, source)) == ["a", "b"]
    assert other.totals == {("v", "view"): 5, ("w", "view"): 2}
    assert other.do(lambda importer: copy_imports(importer, source)) == ["a", "b"]
