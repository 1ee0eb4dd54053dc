"""Reads counts for the query service, without blocking the event loop. Knows no HTTP and no clock.

They come from Cassandra, and those that it no longer keeps from history (services.query.cold).

How far the numbers are complete is read before the numbers: the other way round, a minute that closes in
between would be called complete with counts from before it closed. So who asks reads `register` first, and hands
on what is known: up to there rows of history are the answer, from there on minutes. Then rows are read, and at last
minutes: the other way round, a rollup in between could make what is in both, or in neither.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from typing import Any, NamedTuple

import structlog
from cassandra import DriverException, InvalidRequest, RequestExecutionException
from cassandra.cluster import NoHostAvailable
from tenacity import RetryError, Retrying, sleep_using_event, stop_when_event_set, wait_exponential

from connectors.cassandra import connect
from schemas.kinds import OF_KINDS
from schemas.ledger import LEDGER_COLUMNS, PIPELINE
from services.query.cold import History
from services.query.completeness import ALWAYS, HOUR, Known, Lost
from services.query.pages import all_rows
from services.query.parameters import ClosedTopQuestion, Series, TopQuestion
from services.query.spans import Span, inside, outside
from services.query.top import MergedTop, ShardTop, TopVideo, merge_top
from services.query.zones import LocalDays
from settings import CassandraSettings, QuerySettings
from udfs.logic.register import Applied, Register
from udfs.sinks.history_register import NAME, applied_of_text, register_of

LOG = structlog.get_logger("query")
CONNECT_AGAIN_MAX_S = 2.0
PARTITIONS_AT_ONCE = 32
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
# A list older than this is no longer "now".
MINUTES_LOOKED_BACK = timedelta(minutes=30)
# A rollup that has not run for longer has no newest list.
ROLLUPS_LOOKED_BACK = timedelta(days=7)
AWAY = (NoHostAvailable, DriverException, RequestExecutionException)

_PROGRESS = "SELECT shard, shards, closed_through FROM progress WHERE pipeline = ?"
_REGISTER = "SELECT path, made_at, lease, holder, manifest, kept, applied FROM history_register WHERE name = ?"
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

LEDGER_MINUTES_AT_ONCE = 60
# What is written only when a job is submitted need not be read for each answer.
LOST_KEPT_S = 10.0
_MISSING_RECORDS = "SELECT first_offset, next_offset, viewed_from, viewed_to FROM missing_records WHERE pipeline = ?"
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
_CHANNEL_HOURS = (
    "SELECT hour, views FROM channel_views_by_hour "
    "WHERE channel_id = ? AND kind = ? AND month = ? AND hour >= ? AND hour < ?"
)
_TOP_OF_HOUR = (
    "SELECT hour AS start, videos FROM top_videos_by_hour "
    "WHERE kind = ? AND country = ? AND month = ? AND hour >= ? AND hour <= ? ORDER BY hour DESC LIMIT 1"
)
_TOP_OF_DAY = (
    "SELECT day AS start, videos, complete_through FROM top_videos_by_day "
    "WHERE kind = ? AND country = ? AND day >= ? AND day <= ? ORDER BY day DESC LIMIT 1"
)
_STATEMENTS = {
    "progress": _PROGRESS,
    "register": _REGISTER,
    "missing_records": _MISSING_RECORDS,
    "bases": _BASES,
    "hours": _HOURS,
    "days": _DAYS,
    "day_sums": _DAY_SUMS,
    "minutes": _MINUTES,
    "ledger": _LEDGER,
    "channel_hours": _CHANNEL_HOURS,
    "marked": _MARKED,
    "changes": _CHANGES,
}
# A service whose tables of lists are missing answers everything else.
_LISTS = {"top": _TOP, "top_of_hour": _TOP_OF_HOUR, "top_of_day": _TOP_OF_DAY}


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


class ClosedTop(NamedTuple):
    """A list of the rollup: of the hour or day that begins at `start`, the views before `complete_through`."""

    start: datetime
    complete_through: datetime
    videos: list[TopVideo]


def days_of_total(today: date, kept_days: int) -> list[date]:
    """The days whose minutes are kept, and tomorrow, where a clock a minute ahead writes."""
    return [today + timedelta(days=offset) for offset in range(-kept_days, 2)]


def cut(now: datetime, kept_days: int) -> datetime:
    """Up to when history answers: rows of this time and later are there for a day more, however clocks differ."""
    return now.replace(minute=0, second=0, microsecond=0) - (kept_days - 1) * DAY


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


def dates(start: datetime, end: datetime) -> list[date]:
    """The days, UTC, that a span of whole minutes touches."""
    first, last = start.date(), (end - MINUTE).date()
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def months(first: date, last: date) -> list[date]:
    """The first day of every month from one date to another."""
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    places = range(first.month - 1, first.month - 1 + count)
    return [date(first.year + place // 12, place % 12 + 1, 1) for place in places]


def _naive(at: datetime) -> datetime:
    """As the driver gives and takes times."""
    return at.replace(tzinfo=None)


class CountStore:
    """A Cassandra session that comes and comes back by itself. `start` on a running loop, then `stop`."""

    def __init__(self, cassandra: CassandraSettings, query: QuerySettings, history: History) -> None:
        self._cassandra = cassandra
        self._minutes_kept_days = query.minutes_kept_days
        self._hours_kept_days = query.hours_kept_days
        self._history = history
        self._stopping = threading.Event()
        self._session: Any = None
        self._slots = asyncio.Semaphore(PARTITIONS_AT_ONCE)
        # A column's text is read again when it is another.
        self._applied: tuple[str | None, Applied | None] = None, None
        # And when it was read.
        self._lost: tuple[float, list[Lost]] | None = None

    def start(self) -> None:
        """Connect in the background; until that is done every read raises StoreAwayError."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._connect, name="cassandra-connect", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Close the session."""
        self._history.stop()
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)
        if self._session is not None:
            await asyncio.to_thread(self._session.cluster.shutdown)

    async def complete_through(self) -> datetime | None:
        """See the function of this name. Raises StoreAwayError, as every read does."""
        rows = await self._rows("progress", (PIPELINE,))
        return complete_through([ShardProgress(*row) for row in rows])

    async def lost(self) -> list[Lost]:
        """Records that the stream has not counted, as they were known some seconds ago."""
        now_s = monotonic()
        if self._lost is None or now_s - self._lost[0] > LOST_KEPT_S:
            rows = await self._rows("missing_records", (PIPELINE,))
            found = [Lost(row.next_offset - row.first_offset, row.viewed_from, row.viewed_to) for row in rows]
            self._lost = now_s, found
        return self._lost[1]

    async def register(self) -> Register | None:
        """The register of history as it is now; None where there is none."""
        rows = await self._rows("register", (NAME,))
        if not rows:
            return None
        row = rows[0]
        if row.applied != self._applied[0]:
            # Of many gaps it is long, and the same from one question to the next.
            self._applied = row.applied, applied_of_text(row.applied)
        return register_of(row, self._applied[1])

    def check(self, known: Known, spans: Sequence[Span], *, now: datetime) -> None:
        """Raise HistoryAwayError when something viewed then may be known to nobody before the next rollup."""
        known.check(spans, cut=cut(now, self._minutes_kept_days), now=now)

    async def totals(self, video_id: str, kinds: Sequence[str], known: Known, *, now: datetime) -> list[int]:
        """Views of the video, of each of these kinds: what the rollup has, and the minutes from there on."""
        self.check(known, [(ALWAYS, now)], now=now)
        bases = {row.kind: row for row in await self._rows("bases", (video_id, list(kinds)))}
        days = days_of_total(now.date(), self._minutes_kept_days)

        async def total(kind: str) -> int:
            base = bases.get(kind)
            # A row is written when it changes: up to where history reaches there is nothing that it lacks.
            since = max(_naive(known.end), datetime.min if base is None else base.complete_through)
            since = max(since, datetime.min.replace(year=1970))
            rows = await self._rows("day_sums", (video_id, kind, [day for day in days if day >= since.date()], since))
            return (0 if base is None else base.views) + sum(row.views or 0 for row in rows)

        return await asyncio.gather(*(total(kind) for kind in kinds))

    async def series(
        self, video_id: str, kind: str, series: Series, known: Known, *, now: datetime
    ) -> list[tuple[datetime, int]]:
        """(start, views) of every point, zeros included. Raises what reads of history raise, too."""
        if series.points == 0:
            return []
        span = (series.start, series.end)
        self.check(known, [span], now=now)
        if series.step == MINUTE:
            return fill(series, await self._minutes(video_id, kind, [span], known, before=self.minutes_cut(now)))
        if series.step == HOUR:
            rolled = await self._hours(video_id, kind, span, known, now)
        else:
            rolled = await self._days(video_id, kind, span)
        kept_from = datetime.combine(now.date() - self._minutes_kept_days * DAY, time(), UTC)
        spans = inside([span], (max(kept_from, known.end), series.end))
        return fill(series, await self._hot_minutes(video_id, kind, spans), rolled)

    async def local_days(
        self, video_id: str, kind: str, days: LocalDays, known: Known, *, now: datetime
    ) -> list[tuple[datetime, int]]:
        """(start, views) of every day, from hours, and from minutes where one day ends within an hour.

        Those minutes come from history as soon as the hour does: late events are in both, or in neither.
        """
        first, last = days.bounds[0], days.bounds[-1]
        hours = Series(HOUR, first.replace(minute=0), (last + HOUR - MINUTE).replace(minute=0))
        split = days.split_hours
        rows = await self.series(video_id, kind, hours, known, now=now)
        spans = [(hour, hour + HOUR) for hour in split]
        minutes = await self._minutes(video_id, kind, spans, known, before=known.end)
        whole = [row for row in rows if row[0] not in split]
        return days.sums([*whole, *((minute.replace(tzinfo=UTC), views) for minute, views in minutes)])

    def minutes_cut(self, now: datetime) -> datetime:
        """Up to when history answers for minutes."""
        return cut(now, self._minutes_kept_days)

    async def _minutes(
        self, video_id: str, kind: str, spans: Sequence[Span], known: Known, *, before: datetime
    ) -> list[tuple[datetime, int]]:
        """Of each minute up to `before` what history has, as far as it reaches; of the others what the stream has."""
        old = ALWAYS, min(before, known.end)
        hot, cold = await asyncio.gather(
            self._hot_minutes(video_id, kind, outside(spans, old)),
            self._history.rows(known.manifest, "minutes", video_id, kind, inside(spans, old)),
        )
        return [*hot, *cold]

    async def _hot_minutes(self, video_id: str, kind: str, spans: Sequence[Span]) -> list[tuple[datetime, int]]:
        parts = await asyncio.gather(
            *(
                self._rows("minutes", (video_id, kind, day, _naive(start), _naive(end)))
                for start, end in spans
                for day in dates(start, end)
            )
        )
        return [(row.minute, row.views) for rows in parts for row in rows]

    async def _hours(self, video_id: str, kind: str, span: Span, known: Known, now: datetime) -> list[Rolled]:
        old = ALWAYS, min(cut(now, self._hours_kept_days), known.end)
        parts, cold = await asyncio.gather(
            asyncio.gather(
                *(
                    self._rows("hours", (video_id, kind, month, _naive(start), _naive(end)))
                    for start, end in outside([span], old)
                    for month in months(start.date(), (end - MINUTE).date())
                )
            ),
            self._history.rows(known.manifest, "hours", video_id, kind, inside([span], old)),
        )
        hot = [(row.hour, row.views) for rows in parts for row in rows]
        # An hour is there when it is complete.
        return [Rolled(hour, views, hour + HOUR) for hour, views in [*hot, *cold]]

    async def _days(self, video_id: str, kind: str, span: Span) -> list[Rolled]:
        rows = await self._rows("days", (video_id, kind, span[0].date(), (span[1] - MINUTE).date()))
        return [Rolled(datetime.combine(row.day.date(), time()), row.views, row.complete_through) for row in rows]

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

    async def top(self, question: TopQuestion, *, now: datetime) -> MergedTop:
        """The newest list, or the one of that minute."""
        newest = question.at or now + MINUTE
        oldest = question.at or newest - MINUTES_LOOKED_BACK
        bounds = (_naive(oldest), _naive(newest))
        hours = {at.replace(minute=0, second=0, microsecond=0) for at in bounds}

        async def lists(kind: str) -> list[ShardTop]:
            parts = await asyncio.gather(
                *(self._rows("top", (kind, question.span, hour, *bounds)) for hour in sorted(hours))
            )
            return [ShardTop(*row) for rows in parts for row in rows]

        rows, kinds = await asyncio.gather(lists(question.kind), lists(OF_KINDS))
        by_growth = question.span == "trending"
        return merge_top(rows, kinds, kind=question.kind, by_growth=by_growth, limit=question.limit)

    async def closed_top(self, question: ClosedTopQuestion, known: Known, *, now: datetime) -> ClosedTop | None:
        """The list of that hour or day, or the newest one; None when the rollup has none yet, or no longer."""
        last = question.start or now
        first = question.start or last - ROLLUPS_LOOKED_BACK
        step = DAY if question.span == "day" else HOUR
        # Which list is the newest is not known either, when nobody knows what came after the last one.
        self.check(known, [(ALWAYS, now) if question.start is None else (first, first + step)], now=now)
        name = question.kind, question.country
        if question.span == "day":
            parts = [await self._rows("top_of_day", (*name, first.date(), last.date()))]
        else:
            bounds = _naive(first), _naive(last)
            parts = await asyncio.gather(
                *(self._rows("top_of_hour", (*name, month, *bounds)) for month in months(first.date(), last.date()))
            )
        rows = [row for rows in parts for row in rows]
        if not rows:
            return None if question.start is None else self._empty_top(question.start, step, known, now)
        newest = max(rows, key=lambda row: row.start)
        videos = [TopVideo(video, views, 0, None) for video, views in newest.videos[: question.limit]]
        if question.span == "day":
            start = datetime.combine(newest.start.date(), time(), UTC)
            return ClosedTop(start, newest.complete_through.replace(tzinfo=UTC), videos)
        start = newest.start.replace(tzinfo=UTC)
        return ClosedTop(start, start + HOUR, videos)

    def _empty_top(self, start: datetime, step: timedelta, known: Known, now: datetime) -> ClosedTop | None:
        """Where no row is: a list of nothing, when history has counted that time and the row cannot have expired."""
        if step == HOUR:
            is_counted = max(known.start, cut(now, self._hours_kept_days)) <= start and start + HOUR <= known.end
        else:
            is_counted = known.start <= start < known.end
        return ClosedTop(start, min(start + step, known.end), []) if is_counted else None

    async def channel_hours(
        self, channel_id: str, kind: str, series: Series, known: Known, *, now: datetime
    ) -> list[tuple[datetime, int | None]]:
        """(start, views) of every hour, None where nobody can tell: not counted yet, or perhaps expired."""
        if series.points == 0:
            return []
        self.check(known, [(series.start, series.end)], now=now)
        parts = await asyncio.gather(
            *(
                self._rows("channel_hours", (channel_id, kind, month, _naive(series.start), _naive(series.end)))
                for month in months(series.start.date(), (series.end - MINUTE).date())
            )
        )
        views = {row.hour.replace(tzinfo=UTC): row.views for rows in parts for row in rows}
        first = max(known.start, cut(now, self._hours_kept_days))
        return [
            (start, views.get(start, 0 if start >= first else None) if start < known.end else None)
            for start in series.starts
        ]

    async def ledger(self, minutes: Series) -> dict[datetime, dict[str, int]]:
        """LEDGER_COLUMNS, summed over salts, of each of these minutes of arrival in which anything arrived."""
        starts = minutes.starts
        cuts = [starts[at : at + LEDGER_MINUTES_AT_ONCE] for at in range(0, len(starts), LEDGER_MINUTES_AT_ONCE)]
        parts = await asyncio.gather(*(self._rows("ledger", ([_naive(start) for start in cut],)) for cut in cuts))
        return {
            row.minute.replace(tzinfo=UTC): {name: getattr(row, name) or 0 for name in LEDGER_COLUMNS}
            for rows in parts
            for row in rows
        }

    async def _rows(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        if self._session is None:
            raise StoreAwayError("not connected to Cassandra yet")
        async with self._slots:
            try:
                if statement not in self._statements:
                    prepared = await asyncio.to_thread(self._session.prepare, _LISTS[statement])
                    self._statements[statement] = prepared
                return await all_rows(self._session.execute_async(self._statements[statement], values), self._loop)
            except AWAY as error:
                LOG.warning("read failed", error=str(error))
                raise StoreAwayError(f"Cassandra does not answer: {type(error).__name__}") from error

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
            self._statements = {name: session.prepare(text) for name, text in _STATEMENTS.items()}
            for name, text in _LISTS.items():
                with contextlib.suppress(InvalidRequest):
                    self._statements[name] = session.prepare(text)
        except Exception as error:
            LOG.warning("tables are not there yet", error=str(error))
            session.cluster.shutdown()
            raise
        self._session = session
