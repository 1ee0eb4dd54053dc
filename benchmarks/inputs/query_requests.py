"""What the benchmark of queries asks: requests as the load tool takes them with -whole, by kind of question. Pure.

Videos of hot questions are drawn by Zipf's law, as viewers draw them. A cold question is for a video that nobody has
asked for in this run.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np

from benchmarks.inputs.seeded_counts import DAY, HOUR_S, Numbers, Shape, name_of

# Video k is asked for 1/k as often as the first.
EXPONENT = 1.0
VIDEOS_OF_A_BATCH = 100
# One in so many videos is asked for hot series.
HOT_PART = 6
DAYS_OF_HOURS = 30
DAYS_OF_A_YEAR = 365
# So many videos are asked for old hours again and again.
OLD_AGAIN = 40


def zipf(random: np.random.Generator, videos: int, number: int, exponent: float = EXPONENT) -> Numbers:
    """So many of the first videos, drawn by Zipf's law: rank k has a chance in proportion to 1 / k**exponent."""
    weights = 1 / np.arange(1, videos + 1) ** exponent
    chances = np.cumsum(weights) / weights.sum()
    # Rounding may leave the last a hair below 1.
    return np.minimum(np.searchsorted(chances, random.random(number), side="right"), videos - 1)


def zipf_sets(random: np.random.Generator, videos: int, size: int, number: int) -> list[Numbers]:
    """So many sets of `size` different videos, each drawn by Zipf's law."""
    weights = 1 / np.arange(1, videos + 1) ** EXPONENT
    chances = weights / weights.sum()
    return [random.choice(videos, size, replace=False, p=chances) for _ in range(number)]


class Questions:
    """Makes requests to one service about seeded counts. It hands out each video of cold questions only once.

    So that no hot question has asked for one of these before, hot series are of the first of the videos with such rows.
    """

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape = shape
        self._random = np.random.default_rng(seed)
        self._cold = self._shuffled(shape.day_videos, shape.videos)
        self._cold_days = self._shuffled(shape.day_videos // HOT_PART, shape.day_videos)
        self._cold_hours = self._shuffled(shape.hour_videos // HOT_PART, shape.hour_videos)
        self._old = self._shuffled(OLD_AGAIN, shape.hour_videos)

    def _shuffled(self, first: int, end: int) -> list[int]:
        numbers = np.arange(first, end)
        self._random.shuffle(numbers)
        found: list[int] = numbers.tolist()
        return found

    def _fresh(self, of: list[int], number: int) -> list[int]:
        if len(of) < number:
            raise ValueError(f"{number} videos are asked for once, and only {len(of)} are left: seed more, or ask less")
        taken, of[:] = of[:number], of[number:]
        return taken

    def hot_totals(self, number: int) -> list[bytes]:
        """Totals of videos that are viewed just now."""
        return totals(zipf(self._random, self.shape.hour_videos, number).tolist())

    def mixed_totals(self, number: int) -> list[bytes]:
        """Totals of all videos: many of them are asked for once."""
        return totals(zipf(self._random, self.shape.videos, number).tolist())

    def cold_totals(self, number: int) -> list[bytes]:
        """Totals of videos that were not asked for before."""
        return totals(self._fresh(self._cold, number))

    def hot_batches(self, number: int) -> list[bytes]:
        """Totals of a hundred videos at a time, of those that are viewed just now."""
        size = min(VIDEOS_OF_A_BATCH, self.shape.hour_videos)
        return [batch(of.tolist()) for of in zipf_sets(self._random, self.shape.hour_videos, size, number)]

    def cold_batches(self, number: int) -> list[bytes]:
        """Totals of a hundred videos at a time that were not asked for before."""
        return [batch(self._fresh(self._cold, VIDEOS_OF_A_BATCH)) for _ in range(number)]

    def hours(self, number: int) -> list[bytes]:
        """The last 30 days by the hour."""
        return self._hours(zipf(self._random, self.shape.hour_videos // HOT_PART, number).tolist())

    def cold_hours(self, number: int) -> list[bytes]:
        """The last 30 days by the hour, of videos that were not asked for before."""
        return self._hours(self._fresh(self._cold_hours, number))

    def _hours(self, numbers: Iterable[int]) -> list[bytes]:
        return series(numbers, "hour", self.shape.through - DAYS_OF_HOURS * DAY)

    def days(self, number: int) -> list[bytes]:
        """The last year by the day."""
        return self._days(zipf(self._random, self.shape.day_videos // HOT_PART, number).tolist())

    def cold_days(self, number: int) -> list[bytes]:
        """The last year by the day, of videos that were not asked for before."""
        return self._days(self._fresh(self._cold_days, number))

    def _days(self, numbers: Iterable[int]) -> list[bytes]:
        return series(numbers, "day", self.shape.through - DAYS_OF_A_YEAR * DAY)

    def old_hours(self, number: int) -> list[bytes]:
        """30 days by the hour that the tables keep no longer, of videos that were not asked for before."""
        return self._old_hours(self._fresh(self._old, number))

    def old_hours_again(self, number: int) -> list[bytes]:
        """30 days by the hour that the tables keep no longer, of a few videos."""
        return self._old_hours(zipf(self._random, OLD_AGAIN, number).tolist())

    def _old_hours(self, numbers: Iterable[int]) -> list[bytes]:
        return series(numbers, "hour", *old_span(self.shape))


def old_span(shape: Shape) -> tuple[datetime, datetime]:
    """30 days that the tables keep no longer by the hour."""
    end = datetime.fromtimestamp(shape.old_days.stop * 24 * HOUR_S, UTC)
    return end - DAYS_OF_HOURS * DAY, end


def totals(numbers: Iterable[int]) -> list[bytes]:
    """A request for the total of each video."""
    return [b"GET /v1/videos/%s/views\n" % name_of(number).encode() for number in numbers]


def batch(numbers: Iterable[int]) -> bytes:
    """A request for the totals of all these videos."""
    names = [name_of(number) for number in numbers]
    return b"POST /v1/videos:batchGet\n" + json.dumps({"video_ids": names}, separators=(",", ":")).encode()


def series(numbers: Iterable[int], granularity: str, start: datetime, end: datetime | None = None) -> list[bytes]:
    """A request for a series of each video, until now if it has no end."""
    span = f"from={_text(start)}" + ("" if end is None else f"&to={_text(end)}")
    return [
        f"GET /v1/videos/{name_of(number)}/series?granularity={granularity}&{span}\n".encode() for number in numbers
    ]


def _text(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
