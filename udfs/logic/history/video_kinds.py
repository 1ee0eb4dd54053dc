"""Lists the kinds of each video, from the total of each kind. Pure.

Clients name kinds, so a stranger can make up many of them. A list has the most viewed ones, and says how many others
there are. Reserved kinds are in no list.
"""

import itertools
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.kinds import BLOCKED_PREFIX, CANARY_PREFIX
from udfs.logic.history import imports

# So many kinds of a video are listed. An answer with all kinds of a video asks for each of them.
KINDS_MAX = 32
# `kinds` is a list of texts in JSON, or empty. A text is written and compared like any other column.
KINDS = pa.schema({"video_id": pa.string(), "kinds": pa.string(), "left_out": pa.int64()})


def kinds_of(totals: pa.Table) -> pa.Table:
    """Return the kinds of every video of a table with video_id, kind and views, of schema KINDS, sorted by video.

    A kind counts if it has views. A video of which no kind counts has an empty list.
    """
    videos = totals.group_by("video_id").aggregate([]).sort_by("video_id")["video_id"].combine_chunks()
    counted = totals.select(["video_id", "kind", "views"]).filter(_is_listed(totals))
    # Of kinds with as many views, those whose names come first.
    ordered = counted.sort_by([("video_id", "ascending"), ("views", "descending"), ("kind", "ascending")])
    place = pc.index_in(ordered["video_id"].combine_chunks(), videos).to_numpy(zero_copy_only=False)
    rank = np.arange(len(place)) - np.searchsorted(place, place)
    listed = ordered.filter(pa.array(rank < KINDS_MAX)).sort_by([("video_id", "ascending"), ("kind", "ascending")])
    number = np.bincount(place, minlength=len(videos))
    ends = np.cumsum([0, *np.minimum(number, KINDS_MAX)]).tolist()
    names = listed["kind"].to_pylist()
    lists = [as_text(names[begin:end]) for begin, end in itertools.pairwise(ends)]
    return pa.table([videos, lists, np.maximum(number - KINDS_MAX, 0)], schema=KINDS)


def of_imports(every: Sequence[pa.Table], changed: Sequence[pa.Table]) -> pa.Table:
    """Return the imported kinds of every video that is in `changed`. `every` are all imports in force."""
    wanted = pa.concat_tables([table.select(["video_id"]) for table in changed])
    mine = [of_videos(table, wanted) for table in every]
    return kinds_of(imports.totals(mine, [*mine, *changed]))


def of_videos(table: pa.Table, wanted: pa.Table) -> pa.Table:
    """Return the rows of a table whose videos are in another table."""
    return table.filter(pc.is_in(table["video_id"], pc.unique(wanted["video_id"])))


def changed(kinds: pa.Table, before: pa.Table) -> pa.Table:
    """Return the rows of `kinds` that are not in `before` as they are. Both are of schema KINDS."""
    there = pc.index_in(kinds["video_id"].combine_chunks(), before["video_id"].combine_chunks())
    same = pc.and_(
        pc.equal(kinds["kinds"], before["kinds"].combine_chunks().take(there)),
        pc.equal(kinds["left_out"], before["left_out"].combine_chunks().take(there)),
    )
    return kinds.filter(pc.invert(pc.fill_null(same, fill_value=False)))


def as_text(kinds: Sequence[str]) -> str:
    """Return a list of kinds as the column `kinds` has it."""
    return msgspec.json.encode(kinds).decode() if kinds else ""


def from_text(text: str | None) -> list[str]:
    """Return the list of kinds of the column `kinds`."""
    return msgspec.json.decode(text, type=list[str]) if text else []


def _is_listed(totals: pa.Table) -> pa.ChunkedArray:
    reserved = [pc.starts_with(totals["kind"], prefix) for prefix in (BLOCKED_PREFIX, CANARY_PREFIX)]
    return pc.and_(pc.greater(totals["views"], 0), pc.invert(pc.or_(*reserved)))
