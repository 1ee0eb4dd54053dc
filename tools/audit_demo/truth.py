"""Computes what history must have from the sender's own record: each view once, and late views separately. Pure.

It shares no code with the rollup.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from settings.durations import MINUTES_PER_HOUR
from tools.load import Fate
from tools.load.prediction import Cells, cells
from tools.load.vocabulary import Names

# The length in minutes of the time of a row, by data set. None means all time.
SPANS = {"minutes": 1, "hours": MINUTES_PER_HOUR, "days": 24 * MINUTES_PER_HOUR, "totals": None}


@dataclass(frozen=True)
class Truth:
    """What the stream must count, and what the rollup must add to it, by (video, kind, minute since 1970)."""

    counted: Cells
    late: Cells

    def views(self) -> Cells:
        """The sum of both."""
        return dict(Counter(self.counted) + Counter(self.late))

    def before(self, through_hour: int) -> "Truth":
        """The part viewed before the hour `through_hour`, in hours since 1970."""
        end = through_hour * MINUTES_PER_HOUR
        return Truth(*({cell: n for cell, n in of.items() if cell[2] < end} for of in (self.counted, self.late)))


def truth_of(events: npt.NDArray[np.void], fates: npt.NDArray[np.uint8], videos: Names) -> Truth:
    """The truth about sent events (tools.load.traffic.EVENT[n]), given the fate of each in the stream."""
    return Truth(cells(events[fates == Fate.COUNTED], videos), cells(events[added(events, fates)], videos))


def added(events: npt.NDArray[np.void], fates: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The places of the late events that the rollup adds.

    The rollup adds each (id, viewed_at) once, unless the stream has counted it. It does not matter which of several
    events it adds, because they have the same video and kind.
    """
    late = np.nonzero(fates == Fate.LATE)[0]
    alike = np.isin(events["origin"], events["origin"][late]) & (fates == Fate.COUNTED)
    names = zip(events["origin"][alike].tolist(), events["viewed_at_ms"][alike].tolist(), strict=True)
    taken = set(names)
    found = []
    for place, origin, viewed_at_ms in zip(
        late.tolist(), events["origin"][late].tolist(), events["viewed_at_ms"][late].tolist(), strict=True
    ):
        if (origin, viewed_at_ms) not in taken:
            taken.add((origin, viewed_at_ms))
            found.append(place)
    return np.array(found, np.int64)


def summed(minutes: Cells, span: int | None) -> Cells:
    """The sums by (video, kind, first minute of the span). The minute is 0 if `span` is None, which means all time."""
    found: Cells = {}
    for (video, kind, minute), views in minutes.items():
        cell = video, kind, 0 if span is None else minute // span * span
        found[cell] = found.get(cell, 0) + views
    return found
