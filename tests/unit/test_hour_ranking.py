"""Lists of an hour made in several passes are those of one pass, kinds that strangers invent included."""

import random

import pytest

from tests.unit.test_memory_budget import rows
from udfs.logic import hour_ranking, kind_sums
from udfs.logic.closed_minutes import BUCKETS, ClosedMinute
from udfs.logic.hour_ranking import passes_for, rank_hour
from udfs.logic.ranking import KINDS_MAX, TOP


def minutes(r: random.Random, kinds: int, videos: int) -> list[ClosedMinute]:
    found = []
    for minute in range(6):
        cells = {(f"kind-{r.randrange(kinds)}", f"video-{r.randrange(videos)}"): r.randrange(1, 9) for _ in range(800)}
        found.append(ClosedMinute(rows(*((*cell, views) for cell, views in cells.items())), None, minute))
    return found


@pytest.mark.parametrize(("kinds", "videos"), [(1, 90), (3, 90), (KINDS_MAX, 60), (KINDS_MAX + 1, 50), (700, 3)])
def test_passes_change_no_list(monkeypatch: pytest.MonkeyPatch, kinds: int, videos: int) -> None:
    assert videos <= TOP, "or equals at the cut would be any"
    r = random.Random(kinds)
    span, before = minutes(r, kinds, videos), minutes(r, kinds, videos)
    one = rank_hour(span, before)
    assert passes_for(sum(minute.cells for minute in (*span, *before))) == 1
    for cells_at_once, kinds_at_once in ((2000, 1 << 16), (10, 1 << 16), (10, 50)):
        monkeypatch.setattr(hour_ranking, "CELLS_AT_ONCE", cells_at_once)
        monkeypatch.setattr(kind_sums, "KINDS_AT_ONCE", kinds_at_once)
        assert passes_for(9600) == (8 if cells_at_once == 2000 else BUCKETS)
        assert rank_hour(span, before) == one
    assert len(one[0]) == min(kinds, KINDS_MAX)


def test_a_minute_has_its_rows_by_bucket_and_knows_how_many() -> None:
    cells = [("view", f"video-{n}", n + 1) for n in range(1000)]
    minute = ClosedMinute(rows(*cells), None, 0)
    parts = [minute.rows(bucket, bucket + 1).tobytes() for bucket in range(BUCKETS)]
    assert b"".join(parts) == minute.rows().tobytes()
    assert min(map(len, parts)) > 0
    assert (minute.cells, minute.events) == (1000, 500_500)
