"""The counts that the benchmark of queries seeds: whose, of when, and how many. Pure; knows no store.

Videos are numbered by rank: video 0 is asked for most. Every number follows from the video and the time alone, so that
an answer can be compared with it. Numbers of minutes, hours and days do not add up to each other: nothing that is
measured depends on it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

KIND = "view"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
# Minutes of the most viewed videos have no gaps; those of others have views in so large a share.
ALWAYS_BUSY = 100
BUSY_SHARE_MIN = 0.02
# The table of hours keeps 100 days; a day more is answered from history.
OLD_HOURS_END_DAYS = 105


@dataclass(frozen=True)
class Shape:
    """How much is seeded. Of the first videos also days, and of the first of those also hours and minutes.

    Hours are in the table for `hour_days` days until `through`, and in Parquet for as many that end OLD_HOURS_END_DAYS
    before it. `through` is the end of the last hour that the rollup has counted.
    """

    videos: int
    day_videos: int
    days: int
    hour_videos: int
    hour_days: int
    through: datetime

    @property
    def first_day(self) -> int:
        """The first day with views, since 1970; the last is that of `through`."""
        return self.last_day - self.days + 1

    @property
    def last_day(self) -> int:
        """The day, since 1970, to which the last counted hour belongs."""
        return (int(self.through.timestamp()) - 1) // DAY_S

    @property
    def through_hour(self) -> int:
        """The first hour, since 1970, that the rollup has not counted."""
        return int(self.through.timestamp()) // HOUR_S

    @property
    def first_hour(self) -> int:
        """The first hour in the table of hours, since 1970. It begins a day."""
        return (self.last_day - self.hour_days + 1) * 24

    @property
    def old_days(self) -> range:
        """The days, since 1970, whose hours are in Parquet and no longer in the table."""
        end = self.last_day - OLD_HOURS_END_DAYS
        return range(end - self.hour_days, end)

    @property
    def days_with_parquet(self) -> list[int]:
        """Every day, since 1970, whose hours are in Parquet, in order."""
        return [*self.old_days, *range(self.first_hour // 24, self.last_day + 1)]

    @property
    def first_minute(self) -> int:
        """The first minute, since 1970, in the stream's table: the beginning of a day."""
        return (self.through_hour // 24) * 24 * 60


def shape_at(now: datetime, *, is_quick: bool) -> Shape:
    """What is seeded at a time: all of it, or a little to try whether the benchmark works."""
    # As after a rollup of this hour: the hour before the last full one is complete.
    through = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) - HOUR
    if is_quick:
        return Shape(10_000, 500, 396, 200, 40, through)
    return Shape(1_000_000, 20_000, 396, 3_000, 40, through)


def name_of(number: int) -> str:
    """The name of a video. All have the same length."""
    return f"video-{number:08d}"


def total_of(number: Any) -> Any:
    """The views before `through`, of a number or of an array of them."""
    return 1_000_000_000 // (number + 1) + number % 97 + 1


def views_of(number: Any, at: Any) -> Any:
    """The views of a video in a day, an hour or a minute, each counted since 1970."""
    return (number * 7919 + at * 104_729) % 997 + 1


def is_busy(number: Any, minute: Any) -> Any:
    """Whether a video has views in a minute."""
    share = np.maximum(ALWAYS_BUSY / (number + 1), BUSY_SHARE_MIN)
    return (number * 48_611 + minute * 15_485_863) % 10_007 < share * 10_007


def busy_minutes(number: int, first: int, end: int) -> Numbers:
    """The minutes since 1970 from `first` to before `end` in which a video has views."""
    minutes = np.arange(first, end, dtype=np.int64)
    found: Numbers = minutes[is_busy(number, minutes)]
    return found


def total_now(shape: Shape, number: int, last_minute: int) -> int:
    """The total of a video, when the stream has counted all minutes before `last_minute`."""
    if number >= shape.hour_videos:
        return int(total_of(number))
    minutes = busy_minutes(number, shape.through_hour * 60, last_minute)
    return int(total_of(number)) + int(views_of(number, minutes).sum())
