"""What must be in history, from the sender's own record: each view once, those too late for the stream beside it. Pure.

Shares no code with the rollup.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from settings.durations import MINUTES_PER_HOUR
from tools.load import Fate
from tools.load.prediction import Cells, cells
from tools.load.vocabulary import Names

# Minutes that a row of each data set is about; None: all of them.
SPANS = {"minutes": 1, "hours": MINUTES_PER_HOUR, "days": 24 * MINUTES_PER_HOUR, "totals": None}


@dataclass(frozen=True)
class Truth:
    """By (video, kind, epoch minute): what the stream must count, and what the rollup must add to it."""

    counted: Cells
    late: Cells

    def views(self) -> Cells:
        """Both."""
        return dict(Counter(self.counted) + Counter(self.late))

    def before(self, through_hour: int) -> "Truth":
        """That of hours viewed before this one, since 1970."""
        end = through_hour * MINUTES_PER_HOUR
        return Truth(*({cell: n for cell, n in of.items() if cell[2] < end} for of in (self.counted, self.late)))


def truth_of(events: npt.NDArray[np.void], fates: npt.NDArray[np.uint8], videos: Names) -> Truth:
    """Of what was sent (tools.load.traffic.EVENT[n]), with the fate of each in the stream."""
    return Truth(cells(events[fates == Fate.COUNTED], videos), cells(events[added(events, fates)], videos))


def added(events: npt.NDArray[np.void], fates: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The places of the late events that the rollup adds.

    Each (id, viewed_at) once, unless that was counted in time. Which of several it is does not matter, for they are of
    one video and kind.
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
    """By (video, kind, first minute of the span), or 0 for all time."""
    found: Cells = {}
    for (video, kind, minute), views in minutes.items():
        cell = video, kind, 0 if span is None else minute // span * span
        found[cell] = found.get(cell, 0) + views
    return found
