"""Makes lists of the most viewed videos of an hour or a day, of all countries and by country.

One shard counts all of a video, so the merged lists of all shards are exact.
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
    """Return lists of schema TOPS, from views by video and by video and country, both of udfs.logic.history.tables.

    The country EVERYWHERE stands for all countries. Views from an unknown country are only in that list.
    """
    everywhere = sums.append_column("country", pa.repeat(pa.scalar(EVERYWHERE), sums.num_rows))
    known = countries.filter(pc.not_equal(countries["country"], ""))
    return merged([everywhere.select(_COUNTED), known.select(_COUNTED)])


def merged(tables: Sequence[pa.Table]) -> pa.Table:
    """Merge several tables of schema TOPS into one. They need not have ranks."""
    table = pa.concat_tables([one.select(_COUNTED) for one in tables]).combine_chunks()
    table = table.filter(pc.greater(table["views"], 0))
    if not table.num_rows:
        return TOPS.empty_table()
    lists = pc.dictionary_encode(pc.binary_join_element_wise(table["country"], table["kind"], "/"))
    groups = lists.combine_chunks().indices.to_numpy()
    views = table["views"].to_numpy()
    # First keep the most viewed of each list, and videos with as many views as the last of them. Then compare names.
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
    """Return the place of each within its run of equal numbers, from 1."""
    places = np.arange(len(groups))
    begins = np.concatenate(([True], groups[1:] != groups[:-1]))
    return places - np.maximum.accumulate(np.where(begins, places, 0)) + 1
