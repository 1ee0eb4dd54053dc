"""Lists of an hour made in several passes are those of one pass, kinds that strangers invent included."""

import random

import pytest

from tests.unit.test_memory_budget import rows
from udfs.logic.minutes.closed_minutes import BUCKETS, ClosedMinute
from udfs.logic.ranking import hour_ranking, kind_sums
from udfs.logic.ranking.hour_ranking import passes_for, rank_hour
from udfs.logic.ranking.lists import KINDS_MAX, TOP


def minutes(r: random.Random, kinds: int, videos: int) -> list[ClosedMinute]:
    found = []
    for minute in range(6):
        cells = {(f"kind-{r.randrange(kinds)}", f"video-{r.randrange(videos)}"): r.randrange(1, 9) for _ in range(800)}
        found.append(ClosedMinute(rows(*((*cell, views) for cell, views in cells.items())), None, minute))
    return found


@pytest.mark.parametrize(("kinds", "videos"), [(1, 90), (3, 90), (KINDS_MAX, 60), (KINDS_MAX + 1, 50), (700, 3)])
@pytest.mark.parametrize("declared", [(), (b"kind-1", b"kind-2", b"never sent")])
@pytest.mark.slow
def test_passes_change_no_list(
    monkeypatch: pytest.MonkeyPatch, kinds: int, videos: int, declared: tuple[bytes, ...]
) -> None:
    assert videos <= TOP, "or equals at the cut would be any"
    r = random.Random(kinds)
    span, before = minutes(r, kinds, videos), minutes(r, kinds, videos)
    one = rank_hour(span, before, declared)
    assert passes_for(sum(minute.cells for minute in (*span, *before))) == 1
    for cells_at_once, kinds_at_once in ((2000, 1 << 16), (10, 1 << 16), (10, 50)):
        monkeypatch.setattr(hour_ranking, "CELLS_AT_ONCE", cells_at_once)
        monkeypatch.setattr(kind_sums, "KINDS_AT_ONCE", kinds_at_once)
        assert passes_for(9600) == (8 if cells_at_once == 2000 else BUCKETS)
        assert rank_hour(span, before, declared) == one
    most, _ = one
    names = {f"kind-{n}".encode() for n in range(kinds)}
    is_left = bool(most.kinds)
    assert is_left == (len(names - {*declared}) > KINDS_MAX - len(declared))
    assert names & {*declared} <= most.of_kind.keys() <= names
    # Equally frequent ones all or none.
    assert len(most.of_kind) <= KINDS_MAX if is_left else most.of_kind.keys() == names


def test_a_minute_has_its_rows_by_bucket_and_knows_how_many() -> None:
    cells = [("view", f"video-{n}", n + 1) for n in range(1000)]
    minute = ClosedMinute(rows(*cells), None, 0)
    parts = [minute.rows(bucket, bucket + 1).tobytes() for bucket in range(BUCKETS)]
    assert b"".join(parts) == minute.rows().tobytes()
    assert min(map(len, parts)) > 0
    assert (minute.cells, minute.events) == (1000, 500_500)
