"""A rollup that counts a day's viewers while one of them is being erased, in some slices and not yet in others."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pytest

from udfs.logic.erasure.erasures import Eraser, asked, closed, pseudonym
from udfs.logic.history.manifest import MarkRules, SliceName, made_by, no_history
from udfs.logic.history.rollup_plan import Plan
from udfs.logic.slices.audience import CELLS, COUNTRIES, VIEWERS, Sums, viewer_hash
from udfs.logic.slices.slice_counts import SliceCounts, no_known
from udfs.stages.shard_tables import ShardTables
from udfs.stores.history_store import HistoryStore

NOW = datetime(2026, 1, 31, 22, 30, tzinfo=UTC)
HOUR = int(NOW.timestamp()) // 3600
DAY = HOUR // 24
INFO = {"next_hour": HOUR + 1, "first_offset": 0, "next_offset": 1, "records": 1, "gaps": []}


def of_viewer(name: str) -> SliceCounts:
    """A slice of one view."""
    cell = {"shard": 0, "hour": HOUR, "kind": "view", "video_id": "v", "minute": HOUR * 60}
    return SliceCounts(
        Sums(
            pa.Table.from_pylist([cell | {"views": 1, "late_added": 0}], CELLS),
            COUNTRIES.empty_table(),
            pa.Table.from_pylist([cell | {"viewer": viewer_hash(name), "views": 1}], VIEWERS),
        ),
        no_known(),
        {},
        {},
        Counter(),
    )


@pytest.mark.parametrize(("is_open", "viewers"), [(True, 1), (False, 2)])
def test_a_viewer_by_name_and_by_pseudonym_is_one_while_the_erasure_is_open(
    tmp_path: Path, is_open: bool, viewers: int
) -> None:
    history = HistoryStore(pyarrow.fs.LocalFileSystem(), str(tmp_path))
    erasure = asked(None, "ann", NOW, blocked=False, unlist=False, reach=timedelta())
    names = [SliceName(HOUR, partition) for partition in range(2)]
    new = [
        history.put_slice(name, of_viewer(who), INFO)
        for name, who in zip(names, ("ann", pseudonym(erasure, b"v", DAY)), strict=True)
    ]
    plan = Plan(
        run=1,
        from_hour=0,
        through_hour=HOUR + 1,
        forgotten_before=0,
        hours=[HOUR],
        recounted=[],
        viewer_days=[DAY],
        final_days=[],
        marked_by={DAY: MarkRules(0, 0)},
        slices={HOUR: names},
    )
    eraser = Eraser([erasure if is_open else closed(erasure)])
    files = ShardTables(
        history,
        shard=0,
        made=made_by(7, "test"),
        before=no_history(1),
        plan=plan,
        new=new,
        channel_of={},
        eraser=eraser,
    ).make()
    (found,) = history.get(files["viewers"][DAY]).to_pylist()
    assert (found["video_id"], found["viewers"]) == ("v", viewers)
