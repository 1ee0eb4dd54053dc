"""The most viewed videos of an hour or a day, in all and by country. Pure.

Exact: a video is counted in one shard, so that the lists of all shards, merged, are those of all videos.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from udfs.logic.ranking.lists import TOP

EVERYWHERE = "*"
TOPS = pa.schema(
    {"kind": pa.string(), "country": pa.string(), "rank": pa.int32(), "video_id": pa.string(), "views": pa.int64()}
)
_COUNTED = ["kind", "country", "video_id", "views"]


def top(sums: pa.Table, countries: pa.Table) -> pa.Table:
    """Of schema TOPS, from views by video and by video and country, both of udfs.logic.history.tables.

    The country EVERYWHERE is all of them; views from an unknown one are in that list alone.
    """
    everywhere = sums.append_column("country", pa.repeat(pa.scalar(EVERYWHERE), sums.num_rows))
    known = countries.filter(pc.not_equal(countries["country"], ""))
    return merged([everywhere.select(_COUNTED), known.select(_COUNTED)])


def merged(tables: Sequence[pa.Table]) -> pa.Table:
    """One of schema TOPS, from several or from what else has its columns but the rank."""
    table = pa.concat_tables([one.select(_COUNTED) for one in tables]).combine_chunks()
    table = table.filter(pc.greater(table["views"], 0))
    if not table.num_rows:
        return TOPS.empty_table()
    lists = pc.dictionary_encode(pc.binary_join_element_wise(table["country"], table["kind"], "/"))
    groups = lists.combine_chunks().indices.to_numpy()
    views = table["views"].to_numpy()
    # What is in the running, before names are compared: the most viewed of each list, and whoever has as many.
    order = np.lexsort((-views, groups))
    rank = _ranks(groups[order])
    least = np.zeros(int(groups.max()) + 1, np.int64)
    last = order[rank == TOP]
    least[groups[last]] = views[last]
    table = table.filter(pa.array(views >= least[groups]))
    table = table.sort_by(
        [("kind", "ascending"), ("country", "ascending"), ("views", "descending"), ("video_id", "ascending")]
    )
    lists = pc.dictionary_encode(pc.binary_join_element_wise(table["country"], table["kind"], "/"))
    rank = _ranks(lists.combine_chunks().indices.to_numpy())
    table = table.append_column("rank", pa.array(rank.astype(np.int32)))
    return table.filter(pa.array(rank <= TOP)).select(TOPS.names).cast(TOPS)


def _ranks(groups: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The place of each in its run of equal ones, from 1."""
    places = np.arange(len(groups))
    begins = np.concatenate(([True], groups[1:] != groups[:-1]))
    return places - np.maximum.accumulate(np.where(begins, places, 0)) + 1
