"""A slice's viewers by buckets of videos, and a day's in shares of which each fits in memory. Pure.

A bucket is a part of a shard, by more of the same hash of a video. A slice has as many as its rows fill, by a power of
two, so that bucket b of a slice with B of them has the videos of b, b + B, b + 2 B and so on of one with more.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from udfs.logic.kernels.hash_columns import halves_of
from udfs.logic.kernels.key_columns import shards_of

# Of a row group, on average: smaller ones cost more than their rows do.
_GROUP_ROWS_MIN = 8192
BUCKETS_MAX = 64


class Share(NamedTuple):
    """Some buckets of `of`; of one that is too large a part, by viewer."""

    buckets: range
    of: int
    part: int = 0
    parts: int = 1

    def touches(self, bucket: int, of: int) -> bool:
        """Whether a slice with so many buckets may have something of this in that one."""
        fewer = min(of, self.of)
        return any(mine % fewer == bucket % fewer for mine in self.buckets)


EVERYTHING = Share(range(1), 1)


def buckets_for(rows: int, shards: int) -> int:
    """How many each shard of a slice gets."""
    return int(min(BUCKETS_MAX, 1 << max(0, (rows // (shards * _GROUP_ROWS_MIN)).bit_length() - 1)))


def shares_of(groups: Iterable[tuple[int, int, int]], rows_max: int) -> list[Share]:
    """All of a shard's day in shares of about so many rows; `groups` are (bucket, of how many, rows)."""
    groups = list(groups)
    of = max((of for _, of, _ in groups), default=1)
    rows = np.zeros(of)
    for bucket, among, number in groups:
        # As if a video of the bucket were in each of those as likely.
        rows[bucket::among] += number * among / of
    shares, begin = [], 0
    while begin < of:
        end = begin + 1
        while end < of and rows[begin : end + 1].sum() <= rows_max:
            end += 1
        parts = max(1, math.ceil(rows[begin:end].sum() / rows_max))
        shares += [Share(range(begin, end), of, part, parts) for part in range(parts)]
        begin = end
    return shares


def rows_of(table: pa.Table, share: Share, shards: int) -> pa.Table:
    """Of a slice's viewers, of buckets that the share touches, the rows that are the share's."""
    if len(share.buckets) < share.of:
        wanted = np.zeros(share.of, bool)
        wanted[share.buckets] = True
        chunks = [_buckets_of(chunk, share.of, shards) for chunk in table["video_id"].chunks]
        mine = wanted[np.concatenate([*chunks, np.empty(0, np.int64)])]
        table = table if mine.all() else table.filter(pa.array(mine))
    if share.parts > 1:
        table = table.filter(pa.array(halves_of(table["viewer"])[:, 1] % np.uint64(share.parts) == share.part))
    return table


def _buckets_of(videos: pa.DictionaryArray, of: int, shards: int) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = shards_of(videos.dictionary, shards * of) // shards
    return found[videos.indices.to_numpy()]
