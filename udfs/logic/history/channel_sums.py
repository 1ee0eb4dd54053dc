"""Sums views by channel. A channel's videos are in many shards, so the sums of all shards have to be added."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from udfs.logic.history.tables import TIME, summed

CHANNELS = pa.schema(
    {"channel_id": pa.string(), "kind": pa.string(), "hour": TIME, "views": pa.int64(), "late_added": pa.int64()}
)


def channels(hour: pa.Table, channel_of: Mapping[str, str]) -> pa.Table:
    """Sum an hour of udfs.logic.history.tables by channel. The result is of schema CHANNELS.

    Videos without a known channel are left out.
    """
    of_channel = pa.array([channel_of.get(video) for video in hour["video_id"].to_pylist()], pa.string())
    return merged([hour.append_column("channel_id", of_channel).filter(of_channel.is_valid()).select(CHANNELS.names)])


def merged(tables: Sequence[pa.Table]) -> pa.Table:
    """Add up several tables of schema CHANNELS. The result is sorted by channel, kind and hour."""
    return summed(pa.concat_tables(tables), ["channel_id", "kind", "hour"], CHANNELS)
