"""How many viewers a video had on a day: exactly, and as a sketch that can be merged with those of other days. Pure.

The sketch is an HLL of Apache DataSketches (https://datasketches.apache.org), which Spark, Druid and others read too.
Of two days' exact numbers nobody can tell how many viewed on both; of two sketches one can, to a hundredth or two.
"""

from collections import Counter

import numpy as np
import pyarrow as pa
from datasketches import hll_sketch, tgt_hll_type

from udfs.logic.history.viewer_days import ViewerDays

# 2**12 registers: a relative standard error of 1.6%, at most 2 KB. Up to some hundred viewers a sketch is a list.
LG_K = 12
VIEWERS_OF_DAY = pa.schema({"video_id": pa.string(), "kind": pa.string(), "viewers": pa.int64(), "sketch": pa.binary()})


class ViewersOfDay:
    """Takes a day's viewers in several parts, so that not all of them have to be in memory. No viewer is in two."""

    def __init__(self) -> None:
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._sketches: dict[tuple[str, str], hll_sketch] = {}

    def add(self, days: ViewerDays) -> None:
        """Add a part."""
        numbers = np.bincount(days.name, minlength=days.names.num_rows).tolist()
        # One half of a hash tells viewers apart well enough for a sketch.
        hashes = days.viewer[:, 0].astype(np.int64)
        begin = 0
        names = zip(days.names["video_id"].to_pylist(), days.names["kind"].to_pylist(), strict=True)
        for name, number in zip(names, numbers, strict=True):
            sketch = self._sketches.get(name)
            if sketch is None:
                sketch = self._sketches[name] = hll_sketch(LG_K, tgt_hll_type.HLL_4)
            for hashed in hashes[begin : begin + number].tolist():
                sketch.update(hashed)
            self._numbers[name] += number
            begin += number

    def table(self) -> pa.Table:
        """Of schema VIEWERS_OF_DAY, sorted by video and kind."""
        names = sorted(self._numbers)
        columns = {
            "video_id": [video for video, _ in names],
            "kind": [kind for _, kind in names],
            "viewers": [self._numbers[name] for name in names],
            "sketch": [self._sketches[name].serialize_compact() for name in names],
        }
        return pa.table(columns, schema=VIEWERS_OF_DAY)
