"""Views by channel. Pure. A channel's videos are in many shards: what all shards have of it, added up, is its own."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from udfs.logic.history.tables import TIME, summed

CHANNELS = pa.schema(
    {"channel_id": pa.string(), "kind": pa.string(), "hour": TIME, "views": pa.int64(), "late_added": pa.int64()}
)


def channels(hour: pa.Table, channel_of: Mapping[str, str]) -> pa.Table:
    """Of schema CHANNELS, from an hour of udfs.logic.history.tables; a video of no known channel counts for none."""
    of_channel = pa.array([channel_of.get(video) for video in hour["video_id"].to_pylist()], pa.string())
    return merged([hour.append_column("channel_id", of_channel).filter(of_channel.is_valid()).select(CHANNELS.names)])


def merged(tables: Sequence[pa.Table]) -> pa.Table:
    """The sums of several of schema CHANNELS, sorted by channel, kind and hour."""
    return summed(pa.concat_tables(tables), ["channel_id", "kind", "hour"], CHANNELS)
