"""Says by whom and from where a video was viewed, from the days that the rollup has counted. Pure.

A day that is not over counts as far as history is complete. Views of open minutes are in no such number.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from services.query.counts.cold import Daily
from udfs.logic.history.sketches import merged


class Part(NamedTuple):
    """The views by one country or device; the name is "" where it is not known."""

    name: str
    views: int


class ViewersOfDays(NamedTuple):
    """How many viewers viewed on any of the days: about `viewers`, and between `lower` and `upper`.

    They are equal if the number is exact. `days` has the exact number of each day that was counted, by day since 1970.
    """

    viewers: int
    lower: int
    upper: int
    days: Mapping[int, int]


def parts(found: Daily, name: str) -> list[Part]:
    """The views by country or device of all days, the most viewed first."""
    sums: Counter[str] = Counter()
    for table in (table for tables in found.tables.values() for table in tables):
        for part, views in zip(table[name].to_pylist(), table["views"].to_pylist(), strict=True):
            sums[part] += views
    return [Part(*one) for one in sorted(sums.items(), key=lambda one: (-one[1], one[0])) if one[1]]


def viewers(found: Daily) -> ViewersOfDays:
    """The viewers of each day and of all days together, from rows of the data set viewers."""
    days, sketches = {}, []
    for day, (table,) in sorted(found.tables.items()):
        days[day] = _sum(table["viewers"])
        sketches += table["sketch"].to_pylist()
    # Whoever viewed most is among the viewers of all days, and nobody is in more of them than the sum.
    least, most = max(days.values(), default=0), sum(days.values())
    if least == most:
        return ViewersOfDays(least, least, most, days)
    about = merged(sketches)

    def within(number: float) -> int:
        return min(max(round(number), least), most)

    return ViewersOfDays(within(about.viewers), within(about.lower), within(about.upper), days)


def _sum(column: pa.ChunkedArray) -> int:
    numbers: Sequence[int] = column.to_pylist()
    return sum(numbers)
