"""Sums views by channel, and lists the most viewed videos of each.

A channel's videos are in many shards, so what all shards have has to be put together.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from udfs.logic.history.tables import TIME, negative, summed
from udfs.logic.ranking.lists import TOP

CHANNELS = pa.schema(
    {"channel_id": pa.string(), "kind": pa.string(), "hour": TIME, "views": pa.int64(), "late_added": pa.int64()}
)

# Of all time. The file's path says so.
CHANNEL_TOTALS = pa.schema(
    {"channel_id": pa.string(), "kind": pa.string(), "views": pa.int64(), "late_added": pa.int64()}
)
CHANNEL_TOPS = pa.schema(
    {"channel_id": pa.string(), "kind": pa.string(), "rank": pa.int32(), "video_id": pa.string(), "views": pa.int64()}
)


def channels(hour: pa.Table, channel_of: Mapping[str, str]) -> pa.Table:
    """Sum an hour of udfs.logic.history.tables by channel. The result is of schema CHANNELS.

    Videos without a known channel are left out.
    """
    return merged([_with_channel(hour, channel_of).select(CHANNELS.names)])


def merged(tables: Sequence[pa.Table]) -> pa.Table:
    """Add up several tables of schema CHANNELS. The result is sorted by channel, kind and hour."""
    return summed(pa.concat_tables(tables), ["channel_id", "kind", "hour"], CHANNELS)


def totals(before: pa.Table, old_hours: Iterable[pa.Table], new_hours: Iterable[pa.Table]) -> pa.Table:
    """Return the sums of all time, of schema CHANNEL_TOTALS, from those before, with some hours replaced.

    Hours are of schema CHANNELS. They are added one by one, since memory may not hold those of years.
    """
    found = before
    for sign, hours in ((-1, old_hours), (1, new_hours)):
        for hour in hours:
            signed = hour.select(CHANNEL_TOTALS.names)
            if sign < 0:
                signed = negative(signed)
            found = summed(pa.concat_tables([found, signed]), ["channel_id", "kind"], CHANNEL_TOTALS)
    return found


def tops(day: pa.Table, channel_of: Mapping[str, str]) -> pa.Table:
    """Return the most viewed videos of each channel and kind, of schema CHANNEL_TOPS, from the sums of a day.

    Videos without a known channel are left out.
    """
    return merged_tops([_with_channel(day, channel_of)])


def merged_tops(tables: Sequence[pa.Table]) -> pa.Table:
    """Merge several tables of schema CHANNEL_TOPS into one. They need not have ranks."""
    names = [name for name in CHANNEL_TOPS.names if name != "rank"]
    table = pa.concat_tables([one.select(names) for one in tables])
    table = table.filter(pc.greater(table["views"], 0)).sort_by(
        [("channel_id", "ascending"), ("kind", "ascending"), ("views", "descending"), ("video_id", "ascending")]
    )
    ranks = pa.array(ranks_in_runs(table["channel_id"], table["kind"]), pa.int32())
    table = table.append_column("rank", ranks).filter(pc.less_equal(ranks, TOP))
    return table.select(CHANNEL_TOPS.names).cast(CHANNEL_TOPS)


def ranks_in_runs(*columns: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """Return the place of each row, from 1, within its run of rows that are equal in these columns of texts."""
    begins = np.zeros(len(columns[0]), bool)
    begins[:1] = True
    for column in columns:
        numbers = column.combine_chunks().dictionary_encode().indices.to_numpy()
        begins[1:] |= numbers[1:] != numbers[:-1]
    places = np.arange(len(begins))
    return (places - np.maximum.accumulate(np.where(begins, places, 0)) + 1).astype(np.int32)


def _with_channel(table: pa.Table, channel_of: Mapping[str, str]) -> pa.Table:
    """Return the rows of videos with a known channel, and `channel_id` beside them."""
    of_channel = pa.array([channel_of.get(video) for video in table["video_id"].to_pylist()], pa.string())
    return table.append_column("channel_id", of_channel).filter(of_channel.is_valid())
