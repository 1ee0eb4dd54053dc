"""Counts the viewers that a video had on a day: exactly, and as a sketch that can be merged with those of other days.

The sketch is an HLL of Apache DataSketches (https://datasketches.apache.org), which Spark, Druid and others read too.
The exact numbers of two days do not say how many viewers the two days have together. Two sketches do, with an error of
a percent or two.
"""

from collections import Counter

import numpy as np
import pyarrow as pa
from datasketches import hll_sketch, tgt_hll_type

from udfs.logic.history.sketches import LG_K
from udfs.logic.history.viewer_days import ViewerDays

VIEWERS_OF_DAY = pa.schema({"video_id": pa.string(), "kind": pa.string(), "viewers": pa.int64(), "sketch": pa.binary()})


class ViewersOfDay:
    """Collects the viewers of a day in parts, so that memory does not have to hold all. No viewer is in two parts."""

    def __init__(self) -> None:
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._sketches: dict[tuple[str, str], hll_sketch] = {}

    def add(self, days: ViewerDays) -> None:
        """Add a part."""
        numbers = np.bincount(days.name, minlength=days.names.num_rows).tolist()
        # For a sketch, one half of the hash is precise enough.
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
        """Return the result, of schema VIEWERS_OF_DAY, sorted by video and kind."""
        names = sorted(self._numbers)
        columns = {
            "video_id": [video for video, _ in names],
            "kind": [kind for _, kind in names],
            "viewers": [self._numbers[name] for name in names],
            "sketch": [self._sketches[name].serialize_compact() for name in names],
        }
        return pa.table(columns, schema=VIEWERS_OF_DAY)
