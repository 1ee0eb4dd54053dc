"""Reads counts from Cassandra for the query service, without blocking the event loop. Knows no HTTP.

How far the numbers are complete is read before the numbers: the other way round, a minute that closes in
between would be called complete with counts from before it closed.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

import structlog
from cassandra import DriverException, RequestExecutionException
from cassandra.cluster import NoHostAvailable
from tenacity import RetryError, Retrying, sleep_using_event, stop_when_event_set, wait_exponential

from connectors.cassandra import connect
from services.query.parameters import STEPS, Series, TopQuestion
from settings import CassandraSettings

LOG = structlog.get_logger("query")
PIPELINE = "view_counts"
CONNECT_AGAIN_MAX_S = 2.0
PARTITIONS_AT_ONCE = 32
MINUTE = timedelta(minutes=1)
# A list older than this is no longer "now".
MINUTES_LOOKED_BACK = timedelta(minutes=30)
MINUTES_TO_SETTLE = timedelta(minutes=2)
AWAY = (NoHostAvailable, DriverException, RequestExecutionException)

_PROGRESS = "SELECT shard, shards, closed_through FROM progress WHERE pipeline = ?"
_BASES = "SELECT kind, views, complete_through FROM view_totals WHERE video_id = ? AND kind IN ?"
# One request for all days: ten small ones cost both sides several times as much. Grouped, since Cassandra logs a
# warning for a sum over several partitions that is not.
_DAY_SUMS = (
    "SELECT sum(views) AS views FROM views_by_minute "
    "WHERE video_id = ? AND kind = ? AND day IN ? AND minute >= ? GROUP BY video_id, kind, day"
)
_MINUTES = (
    "SELECT minute, views FROM views_by_minute "
    "WHERE video_id = ? AND kind = ? AND day = ? AND minute >= ? AND minute < ?"
)

_HOURS = (
    "SELECT hour, views FROM views_by_hour WHERE video_id = ? AND kind = ? AND month = ? AND hour >= ? AND hour < ?"
)
_DAYS = (
    "SELECT day, views, complete_through FROM views_by_day WHERE video_id = ? AND kind = ? AND day >= ? AND day <= ?"
)

# What the ledger tells of a minute, in the order in which answers tell it.
FATES = ("counted", "duplicate", "late", "invalid", "blocked", "dead_lettered")
LEDGER_COLUMNS = ("received", *FATES, "records", "unreadable_records")
LEDGER_MINUTES_AT_ONCE = 60
_LEDGER = (
    f"SELECT minute, {', '.join(f'sum({name}) AS {name}' for name in LEDGER_COLUMNS)} FROM ledger "
    "WHERE minute IN ? GROUP BY minute"
)
_TOP = (
    "SELECT minute, shard, videos, about FROM top_videos "
    "WHERE kind = ? AND span = ? AND hour = ? AND minute >= ? AND minute <= ?"
)
_MARKED = "SELECT day, marked FROM views_by_day WHERE video_id = ? AND kind = ? AND day >= ? AND day <= ?"
_CHANGES = (
    "SELECT at, views, marked, reason, rules FROM day_history WHERE video_id = ? AND kind = ? AND day = ? ORDER BY run"
)


class StoreAwayError(ConnectionError):
    """Cassandra does not answer. Worth trying again."""


class ShardProgress(NamedTuple):
    """A row of the progress table; `closed_through` is a naive UTC time, as the driver gives it."""

    shard: int
    shards: int
    closed_through: datetime | None


def complete_through(rows: Sequence[ShardProgress]) -> datetime | None:
    """The end of the last minute that every shard has closed; None until each of them has closed one."""
    if not rows:
        return None
    shards = rows[0].shards
    closed = {row.shard: row.closed_through for row in rows if row.closed_through is not None}
    if any(row.shards != shards for row in rows) or set(closed) != set(range(shards)):
        return None
    return min(closed.values()).replace(tzinfo=UTC)


class About(NamedTuple):
    """What is known of a video; `created_at` is a naive UTC time."""

    title: str
    channel_id: str
    channel_name: str
    created_at: datetime


class ShardTop(NamedTuple):
    """A row of top_videos; `minute` is a naive UTC time, a video is (video_id, views, views before)."""

    minute: datetime
    shard: int
    videos: Sequence[tuple[str, int, int]]
    about: Mapping[str, tuple[str, str, str, datetime]] | None = None


class TopVideo(NamedTuple):
    """A place in a merged list; `about` is None while nothing is known of the video."""

    video_id: str
    views: int
    before: int
    about: About | None


def merge_top(rows: Sequence[ShardTop], *, by_growth: bool, limit: int) -> tuple[datetime | None, list[TopVideo]]:
    """(minute, first videos of the merged list) of the newest minute, or of one just before it that more shards have.

    Shards write their lists one after another: until all have, the minute before is the one to show.
    """
    shards: dict[datetime, dict[int, ShardTop]] = {}
    for row in rows:
        # What is known comes after the list, and alone when the list has expired.
        if row.videos is not None:
            shards.setdefault(row.minute, {})[row.shard] = row
    if not shards:
        return None, []
    newest = max(shards)
    minute = max((at for at in shards if newest - at <= MINUTES_TO_SETTLE), key=lambda at: (len(shards[at]), at))
    videos = []
    for row in shards[minute].values():
        known = row.about or {}
        videos += [TopVideo(*video, About(*known[video[0]]) if video[0] in known else None) for video in row.videos]
    videos.sort(key=lambda video: (-(video.views - video.before * by_growth), video.video_id))
    return minute.replace(tzinfo=UTC), videos[:limit]


def days_of_total(today: date, minute_days: int) -> list[date]:
    """The days a total sums up: the last `minute_days`, and tomorrow, where a clock a minute ahead writes."""
    return [today + timedelta(days=offset) for offset in range(1 - minute_days, 2)]


class DayChange(NamedTuple):
    """What a day's views and the marked ones among them came to be; `at` is a naive UTC time."""

    at: datetime
    views: int
    marked: int
    reason: str
    rules: str


class Rolled(NamedTuple):
    """What the rollup has of one point: the views in it before `complete_through`, both times naive UTC."""

    start: datetime
    views: int
    complete_through: datetime


def fill(
    series: Series, rows: Iterable[tuple[datetime, int]], rolled: Iterable[Rolled] = ()
) -> list[tuple[datetime, int]]:
    """(start, views) of every point of the series; rows are (minute as naive UTC, views).

    Where the rollup has a point, its count stands for the minutes that it covers.
    """
    sums = [0] * series.points
    covered: dict[int, datetime] = {}
    for one in rolled:
        point = (one.start.replace(tzinfo=UTC) - series.start) // series.step
        sums[point], covered[point] = one.views, one.complete_through
    for minute, views in rows:
        point = (minute.replace(tzinfo=UTC) - series.start) // series.step
        if point not in covered or minute >= covered[point]:
            sums[point] += views
    return list(zip(series.starts, sums, strict=True))


def months(first: date, last: date) -> list[date]:
    """The first day of every month from one date to another."""
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    places = range(first.month - 1, first.month - 1 + count)
    return [date(first.year + place // 12, place % 12 + 1, 1) for place in places]


class CountStore:
    """A Cassandra session that comes and comes back by itself. `start` on a running loop, then `stop`."""

    def __init__(self, cassandra: CassandraSettings, *, minute_days: int) -> None:
        self._cassandra = cassandra
        self._minute_days = minute_days
        self._stopping = threading.Event()
        self._session: Any = None
        self._slots = asyncio.Semaphore(PARTITIONS_AT_ONCE)

    def start(self) -> None:
        """Connect in the background; until that is done every read raises StoreAwayError."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._connect, name="cassandra-connect", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Close the session."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)
        if self._session is not None:
            await asyncio.to_thread(self._session.cluster.shutdown)

    async def complete_through(self) -> datetime | None:
        """See the function of this name. Raises StoreAwayError, as every read does."""
        rows = await self._rows("progress", (PIPELINE,))
        return complete_through([ShardProgress(*row) for row in rows])

    async def totals(self, video_id: str, kinds: Sequence[str], *, today: date) -> list[int]:
        """Views of the video, of each of these kinds: what the rollup has, and the minutes from there on."""
        bases = {row.kind: row for row in await self._rows("bases", (video_id, list(kinds)))}
        days = days_of_total(today, self._minute_days)

        async def total(kind: str) -> int:
            base = bases.get(kind)
            since = datetime.min.replace(year=1970) if base is None else base.complete_through
            rows = await self._rows("day_sums", (video_id, kind, [day for day in days if day >= since.date()], since))
            return (0 if base is None else base.views) + sum(row.views or 0 for row in rows)

        return await asyncio.gather(*(total(kind) for kind in kinds))

    async def series(self, video_id: str, kind: str, series: Series, *, today: date) -> list[tuple[datetime, int]]:
        """(start, views) of every point, zeros included."""
        if series.points == 0:
            return []
        first, last = series.start.date(), (series.end - timedelta(milliseconds=1)).date()
        bounds = (series.start.replace(tzinfo=None), series.end.replace(tzinfo=None))
        # First what the rollup has: the other way round, a rollup in between could show what is in both, or in neither.
        rolled = await self._rolled(video_id, kind, series.step, first, last, bounds)
        days = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
        if series.step > MINUTE:
            days = [day for day in days if day >= today - timedelta(days=self._minute_days)]
        parts = await asyncio.gather(*(self._rows("minutes", (video_id, kind, day, *bounds)) for day in days))
        return fill(series, ((row.minute, row.views) for rows in parts for row in rows), rolled)

    async def _rolled(
        self, video_id: str, kind: str, step: timedelta, first: date, last: date, bounds: tuple[datetime, datetime]
    ) -> list[Rolled]:
        if step == STEPS["hour"]:
            parts = await asyncio.gather(
                *(self._rows("hours", (video_id, kind, month, *bounds)) for month in months(first, last))
            )
            # An hour is there when it is complete.
            return [Rolled(row.hour, row.views, row.hour + step) for rows in parts for row in rows]
        if step == STEPS["day"]:
            rows = await self._rows("days", (video_id, kind, first, last))
            return [Rolled(datetime.combine(row.day.date(), time()), row.views, row.complete_through) for row in rows]
        return []

    async def marked(self, video_id: str, kind: str, days: Series) -> dict[datetime, int]:
        """How many views of each day (UTC) are marked, by its start; of days that are complete."""
        if days.points == 0:
            return {}
        rows = await self._rows("marked", (video_id, kind, days.starts[0].date(), days.starts[-1].date()))
        starts = ((datetime.combine(row.day.date(), time(), UTC), row.marked) for row in rows)
        return {start: marked for start, marked in starts if marked is not None}

    async def day_changes(self, video_id: str, kind: str, day: date) -> list[DayChange]:
        """What became of the day's numbers, the oldest first."""
        return [DayChange(*row) for row in await self._rows("changes", (video_id, kind, day))]

    async def top(self, question: TopQuestion, *, now: datetime) -> tuple[datetime | None, list[TopVideo]]:
        """(minute, first videos) of the newest list, or of the one of that minute."""
        newest = question.at or now + MINUTE
        oldest = question.at or newest - MINUTES_LOOKED_BACK
        bounds = (oldest.replace(tzinfo=None), newest.replace(tzinfo=None))
        hours = {at.replace(minute=0, second=0, microsecond=0) for at in bounds}
        parts = await asyncio.gather(
            *(self._rows("top", (question.kind, question.span, hour, *bounds)) for hour in sorted(hours))
        )
        rows = [ShardTop(*row) for rows in parts for row in rows]
        return merge_top(rows, by_growth=question.span == "trending", limit=question.limit)

    async def ledger(self, minutes: Series) -> dict[datetime, dict[str, int]]:
        """LEDGER_COLUMNS, summed over salts, of each of these minutes of arrival in which anything arrived."""
        starts = minutes.starts
        cuts = [starts[at : at + LEDGER_MINUTES_AT_ONCE] for at in range(0, len(starts), LEDGER_MINUTES_AT_ONCE)]
        parts = await asyncio.gather(
            *(self._rows("ledger", ([start.replace(tzinfo=None) for start in cut],)) for cut in cuts)
        )
        return {
            row.minute.replace(tzinfo=UTC): {name: getattr(row, name) or 0 for name in LEDGER_COLUMNS}
            for rows in parts
            for row in rows
        }

    async def _rows(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        if self._session is None:
            raise StoreAwayError("not connected to Cassandra yet")
        async with self._slots:
            done: asyncio.Future[list[Any]] = self._loop.create_future()
            try:
                request = self._session.execute_async(self._statements[statement], values)
                request.add_callbacks(
                    lambda rows: self._settle(done, rows, None), lambda error: self._settle(done, None, error)
                )
                return await done
            except AWAY as error:
                LOG.warning("read failed", error=str(error))
                raise StoreAwayError(f"Cassandra does not answer: {type(error).__name__}") from error

    def _settle(self, done: "asyncio.Future[list[Any]]", rows: list[Any] | None, error: Exception | None) -> None:
        def on_loop() -> None:
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(list(rows or []))

        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            self._loop.call_soon_threadsafe(on_loop)

    def _connect(self) -> None:
        retrying = Retrying(
            wait=wait_exponential(multiplier=0.1, max=CONNECT_AGAIN_MAX_S),
            stop=stop_when_event_set(self._stopping),
            sleep=sleep_using_event(self._stopping),
        )
        with contextlib.suppress(RetryError):
            retrying(self._connect_once)

    def _connect_once(self) -> None:
        try:
            session = connect(self._cassandra)
        except Exception as error:
            LOG.warning("not connected", error=str(error))
            raise
        try:
            self._statements = {
                name: session.prepare(text)
                for name, text in (
                    ("progress", _PROGRESS),
                    ("bases", _BASES),
                    ("hours", _HOURS),
                    ("days", _DAYS),
                    ("day_sums", _DAY_SUMS),
                    ("minutes", _MINUTES),
                    ("ledger", _LEDGER),
                    ("top", _TOP),
                    ("marked", _MARKED),
                    ("changes", _CHANGES),
                )
            }
        except Exception as error:
            LOG.warning("tables are not there yet", error=str(error))
            session.cluster.shutdown()
            raise
        self._session = session
