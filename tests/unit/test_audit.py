"""What an audit makes of two tables, cell by cell, against the same in plain Python; and what it says."""

from datetime import UTC, datetime
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.audit import closed_hour, told
from tests.support.tiers import examples
from udfs.logic.audit.minutes import STORED, Correction, Verdict, compare
from udfs.logic.history.tables import MINUTES
from udfs.sources.minute_rows import token_ranges

HOUR = 490_000
Cell = tuple[str, str, int]
CELLS = st.tuples(st.sampled_from(["a", "b", "é"]), st.sampled_from(["view", "like"]), st.integers(0, 3))


def at(minute: int) -> datetime:
    return datetime.fromtimestamp((HOUR * 60 + minute) * 60, UTC)


def truth_of(cells: dict[Cell, tuple[int, int]]) -> pa.Table:
    rows = [(video, kind, at(minute), views, late) for (video, kind, minute), (views, late) in cells.items()]
    return pa.Table.from_pylist([dict(zip(MINUTES.names, row, strict=True)) for row in rows], schema=MINUTES)


def stored_of(cells: dict[Cell, tuple[int, int]]) -> pa.Table:
    rows = [(video, kind, at(minute), views, written) for (video, kind, minute), (views, written) in cells.items()]
    return pa.Table.from_pylist([dict(zip(STORED.names, row, strict=True)) for row in rows], schema=STORED)


@examples(full=200, fast=20)
@given(
    st.dictionaries(CELLS, st.tuples(st.integers(1, 5), st.integers(0, 5)).map(lambda n: (sum(n), n[1]))),
    st.dictionaries(CELLS, st.tuples(st.integers(0, 8), st.booleans())),
)
def test_every_cell_is_equal_late_or_wrong(
    truth: dict[Cell, tuple[int, int]], views: dict[Cell, tuple[int, bool]]
) -> None:
    # As the stream stamps it, or as a repair does.
    stored = {
        cell: (n, (HOUR * 60 + cell[2]) * 60_000_000 + n + 10**12 * is_repaired)
        for cell, (n, is_repaired) in views.items()
    }
    verdict, corrections = compare(HOUR, truth_of(truth), stored_of(stored))
    expected: list[Correction] = []
    equal = late_added = biggest = 0
    for cell in sorted({*truth, *stored}):
        video, kind, minute = cell
        after, late = truth.get(cell, (0, 0))
        before, written = stored.get(cell, (0, 0))
        if before == after:
            equal += 1
            continue
        is_repaired = views.get(cell, (0, False))[1]
        is_late = before == after - late or (is_repaired and after - late < before < after)
        late_added += after - before if is_late else 0
        biggest = max(biggest, 0 if is_late else abs(after - before))
        minute_ms = (HOUR * 60 + minute) * 60_000
        expected.append(Correction(video, kind, minute_ms, "late" if is_late else "wrong", before, after, written))
    assert corrections == expected
    reasons = [correction.reason for correction in expected]
    assert verdict == Verdict(
        hour=HOUR,
        compared=len({*truth, *stored}),
        equal=equal,
        late=reasons.count("late"),
        late_added=late_added,
        wrong=reasons.count("wrong"),
        biggest_difference=biggest,
    )


def test_what_was_repaired_is_equal() -> None:
    truth = {("a", "view", 1): (5, 2), ("b", "view", 1): (3, 0)}
    verdict, corrections = compare(
        HOUR, truth_of(truth), stored_of({("a", "view", 1): (3, 7), ("c", "view", 1): (1, 7)})
    )
    assert (verdict.late, verdict.wrong) == (1, 2)
    repaired = {(c.video_id, c.kind, 1): (c.after, 8) for c in corrections}
    again, nothing = compare(HOUR, truth_of(truth), stored_of(repaired))
    assert (again.equal, again.late, again.wrong, nothing) == (3, 0, 0, [])


def test_the_ring_is_cut_without_gap_and_overlap() -> None:
    ranges = token_ranges(32)
    assert ranges[0][0] == -(2**63)
    assert ranges[-1][1] == 2**63 - 1
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ranges))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], None),
        ([(0, 2, datetime(2026, 1, 1, 5, 59))], None),
        ([(0, 2, datetime(2026, 1, 1, 5, 59)), (1, 2, None)], None),
        ([(0, 2, datetime(2026, 1, 1, 5, 59)), (1, 2, datetime(2026, 1, 1, 7))], 490_901),
        ([(0, 1, datetime(2026, 1, 1, 6))], 490_902),
    ],
)
def test_an_hour_is_closed_when_every_shard_has_closed_it(
    rows: list[tuple[int, int, datetime | None]], expected: int | None
) -> None:
    assert closed_hour(rows) == expected


def test_what_is_said_names_hours_that_are_not_equal() -> None:
    text = told([Verdict(490_896, 7, 7), Verdict(490_897, 9, 5, 1, 3, 3, 12, 4)])
    assert text.splitlines() == [
        "2026-01-01T01:00Z: 3 wrong (by 12 at most), 1 late (+3), 4 repaired",
        "2 hours, 16 cells: 12 equal, 3 wrong, 1 late (+3 views); 4 repaired",
    ]
