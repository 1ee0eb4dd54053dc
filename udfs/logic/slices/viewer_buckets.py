"""Divides a slice's viewers into buckets of videos, and a day's viewers into shares that fit in memory.

A bucket is a part of a shard: more of the same hash of a video decides it. A slice with more rows has more buckets. The
number is a power of two, so that bucket b of a slice with B buckets has the videos of the buckets b, b + B, b + 2 B and
so on of a slice with more.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from udfs.logic.kernels.hash_columns import halves_of
from udfs.logic.kernels.key_columns import shards_of

# The least rows of a row group, on average. Smaller groups cost more than their rows do.
_GROUP_ROWS_MIN = 8192
BUCKETS_MAX = 64


class Share(NamedTuple):
    """Some of `of` buckets. If a bucket is too large for a share, its viewers are divided into `parts` shares."""

    buckets: range
    of: int
    part: int = 0
    parts: int = 1

    def touches(self, bucket: int, of: int) -> bool:
        """Return whether bucket number `bucket` of a slice with `of` buckets may have viewers of this share."""
        fewer = min(of, self.of)
        return any(mine % fewer == bucket % fewer for mine in self.buckets)


EVERYTHING = Share(range(1), 1)


def buckets_for(rows: int, shards: int) -> int:
    """Return how many buckets each shard of a slice of so many rows gets."""
    return int(min(BUCKETS_MAX, 1 << max(0, (rows // (shards * _GROUP_ROWS_MIN)).bit_length() - 1)))


def shares_of(groups: Iterable[tuple[int, int, int]], rows_max: int) -> list[Share]:
    """Divide a shard's day into shares of about so many rows; `groups` are (bucket, number of buckets, rows)."""
    groups = list(groups)
    of = max((of for _, of, _ in groups), default=1)
    rows = np.zeros(of)
    for bucket, among, number in groups:
        # The rows of a larger bucket are spread evenly over the buckets that it contains.
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
    """Return the rows of the share, from the viewers of a slice's buckets that the share touches."""
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
