"""Reads the rows that answer a question, and computes the numbers of the answer. Knows no HTTP and no clock.

Rows come from Cassandra (services.query.counts.session), or from history if Cassandra no longer keeps them
(services.query.counts.cold).

The order of reads matters:

1. Callers first read how far the numbers are complete (`complete_through`, `register`). If they read it last, a minute
   that closes in between would be called complete, though its counts were read before it closed.
2. Callers pass on what the register says. Rows of history answer up to that time, and minutes from it on.
3. Rows of history are read before minutes. Otherwise a rollup in between could make views count in both, or in neither.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from typing import Any, NamedTuple

from schemas.kinds import DEFAULT_KIND, OF_KINDS
from schemas.ledger import LEDGER_COLUMNS
from schemas.progress import PIPELINE, ShardProgress, complete_through
from services.query.counts import top
from services.query.counts.cold import Daily, History
from services.query.counts.completeness import ALWAYS, DAY, HOUR, HistoryAwayError, HistoryState, Lost, cut
from services.query.counts.kinds import KindsOfVideo, kinds_of_videos
from services.query.counts.known import Known
from services.query.counts.points import Points
from services.query.counts.rolled_hours import RolledHours
from services.query.counts.series import Rolled, Series, fill, naive
from services.query.counts.session import ReadSession
from services.query.counts.spans import Span, dates, inside, months, nearly_merged, outside
from services.query.counts.top import ClosedTop, ClosedTopQuestion, MergedTop, ShardTop, TopQuestion, TopVideo
from services.query.counts.totals import Total, Totals
from settings import QuerySettings
from udfs.logic.history.manifest import day_number, hour_start
from udfs.logic.history.register import Applied, Register
from udfs.stores.history_register import NAME, applied_of_text, register_of

MINUTE = timedelta(minutes=1)
# A list older than this is not answered as the newest.
MINUTES_LOOKED_BACK = timedelta(minutes=30)
# When no rollup has run for longer, there is no newest list of the rollup.
ROLLUPS_LOOKED_BACK = timedelta(days=7)
LEDGER_MINUTES_AT_ONCE = 60
AUDIT_DAYS_AT_ONCE = 8
VIDEOS_AT_ONCE = 50


class DayChange(NamedTuple):
    """A row of day_history: the views of a day, and the marked ones among them, after a rollup has changed them.

    `at` is the naive UTC time at which that rollup wrote it.
    """

    at: datetime
    views: int
    marked: int
    reason: str
    rules: str


class CountStore:
    """Answers questions from a session and from history. Call `start` on a running loop, and `stop` before it ends.

    Every read raises StoreAwayError while Cassandra does not answer.
    """

    def __init__(
        self,
        session: ReadSession,
        query: QuerySettings,
        history: History,
        declared_kinds: Sequence[str] = (),
        rolled_hours: RolledHours | None = None,
    ) -> None:
        self._session = session
        self._kinds_always = sorted({DEFAULT_KIND, *declared_kinds})
        self._minutes_kept_days = query.minutes_kept_days
        self._hours_kept_days = query.hours_kept_days
        self._history = history
        self._fresh_s = query.fresh_ms / 1000
        self._rolled_hours = RolledHours(session) if rolled_hours is None else rolled_hours
        self._totals = Totals(
            session,
            kept_days=query.minutes_kept_days,
            fresh_s=self._fresh_s,
            bytes_max=query.held_share_bytes,
        )
        # The register's column `applied`, and that text decoded.
        self._applied: tuple[str | None, Applied | None] = None, None

    @property
    def reads(self) -> ReadSession:
        """Reads rows without computing anything."""
        return self._session

    def start(self) -> None:
        """Begin to connect to Cassandra. Returns at once."""
        self._session.start()

    async def stop(self) -> None:
        """Stop reading, and close the session."""
        self._history.stop()
        await self._session.stop()

    async def complete_through(self) -> datetime | None:
        """The end of the last minute that every shard of the stream has closed; None until each has closed one."""
        rows = await self._session.rows("progress", (PIPELINE,))
        return complete_through([ShardProgress(*row) for row in rows])

    async def lost(self) -> list[Lost]:
        """The records that the stream has not counted. Read them after `complete_through`, if they go together."""
        rows = await self._session.rows("missing_records", (PIPELINE,))
        return [Lost(row.next_offset - row.first_offset, row.viewed_from, row.viewed_to) for row in rows]

    async def register(self) -> Register | None:
        """The register of history as it is now; None if there is none."""
        rows = await self._session.rows("register", (NAME,))
        if not rows:
            return None
        row = rows[0]
        if row.applied != self._applied[0]:
            # With many gaps the text is long, and it seldom changes between two questions, so it is decoded once.
            self._applied = row.applied, applied_of_text(row.applied)
        return register_of(row, self._applied[1])

    def check(self, history: HistoryState, spans: Sequence[Span], *, now: datetime) -> None:
        """Raise HistoryAwayError if some views within these spans may be unknown until the next rollup."""
        history.check(spans, cut=cut(now, self._minutes_kept_days), now=now)

    async def totals(self, video_id: str, kinds: tuple[str, ...], known: Known, *, now: datetime) -> Total:
        """The total of the video by kind. What the answer says of completeness is that of the total's own `known`.

        Raises HistoryAwayError, too.
        """
        self.check(known.history, [(ALWAYS, now)], now=now)
        return await self._totals.get(video_id, kinds, known, now=now)

    async def kinds_of(self, video_ids: Sequence[str], history: HistoryState) -> dict[str, KindsOfVideo]:
        """The kinds of each of these videos. Kinds first viewed after `history.end` are known only if declared.

        Raises HistoryAwayError, too.
        """
        if not history.has_kinds:
            raise HistoryAwayError("the tables do not list the kinds of videos yet: the next rollup writes the lists")
        asked = list(dict.fromkeys(video_ids))
        cuts = [asked[at : at + VIDEOS_AT_ONCE] for at in range(0, len(asked), VIDEOS_AT_ONCE)]
        statements = ["kinds", "imported_kinds"] if history.has_imports else ["kinds"]
        parts = await asyncio.gather(*(self._session.rows(one, (cut,)) for one in statements for cut in cuts))
        return kinds_of_videos(asked, self._kinds_always, (row for rows in parts for row in rows))

    def fresh_until_s(self, total: Total) -> float:
        """Until when, by the monotonic clock, a total may be answered without asking for it again."""
        return self._totals.fresh_until_s(total)

    def fresh_from_now_until_s(self) -> float:
        """The same for numbers that are read from now on."""
        return monotonic() + self._fresh_s

    async def totals_of_many(
        self, video_ids: Sequence[str], kinds: tuple[str, ...], known: Known, *, now: datetime
    ) -> list[Total]:
        """The totals of these videos, in their order, as `totals` has them. Each has a `known` of its own."""
        self.check(known.history, [(ALWAYS, now)], now=now)
        return await asyncio.gather(*(self._totals.get(video_id, kinds, known, now=now) for video_id in video_ids))

    async def by_day(
        self, data_set: str, subject: str, kind: str, days: range, columns: Sequence[str], history: HistoryState
    ) -> Daily:
        """Rows of a data set of history, of a video or a channel, by day since 1970.

        Raises HistoryAwayError and TooManyFilesError.
        """
        return await self._history.by_day(history.manifest, data_set, subject, kind, days, columns)

    async def imported_days(self, video_id: str, kind: str, days: Span, history: HistoryState) -> dict[datetime, int]:
        """Imported views of days of UTC by their start, which `series` leaves out; no day without any."""
        first, end = days
        if not history.has_imports or first == end:
            return {}
        rows = await self._session.rows("imported_days", (video_id, kind, first.date(), (end - DAY).date()))
        return {datetime.combine(row.day.date(), time(), UTC): row.views for row in rows if row.views}

    async def series(
        self, video_id: str, kind: str, series: Series, history: HistoryState, *, now: datetime
    ) -> list[tuple[datetime, int]]:
        """(start, views) of every point, zeros included. Raises HistoryAwayError and TooManyFilesError, too."""
        if series.points == 0:
            return []
        span = (series.start, series.end)
        self.check(history, [span], now=now)
        if series.step == MINUTE:
            minutes = await self._minutes(video_id, kind, [span], history, before=self.minutes_cut(now), now=now)
            return fill(series, minutes)
        if series.step == HOUR:
            rolled = await self._hours(video_id, kind, [span], history, now)
        else:
            rolled = await self._days(video_id, kind, [span])
        return fill(series, await self._open_minutes(video_id, kind, span, history, now), rolled)

    async def points(
        self, video_id: str, kind: str, points: Points, history: HistoryState, *, now: datetime
    ) -> list[tuple[datetime, int]]:
        """(start, views) of every point: the sum of its days, hours and minutes. Raises as `series`.

        Minutes of hours that are cut come from history as soon as the hour does, so that late events are in both or in
        neither.
        """
        if points.count == 0:
            return []
        self.check(history, [points.span], now=now)
        if points.is_of_minutes:
            minutes = await self._minutes(video_id, kind, [points.span], history, before=self.minutes_cut(now), now=now)
            return list(zip(points.bounds, points.sums(minutes), strict=False))
        pieces = points.pieces
        days, hours, cold = await asyncio.gather(
            self._days(video_id, kind, pieces.days),
            self._hours(video_id, kind, pieces.hours, history, now),
            self._history.rows(
                history.manifest, "minutes", video_id, kind, inside(pieces.split_hours, (ALWAYS, history.end))
            ),
        )
        hot = await self._open_minutes(video_id, kind, points.span, history, now)
        return list(zip(points.bounds, points.sums([*hot, *cold], hours, days), strict=False))

    async def files(self, video_id: str, asked: Series | Points, history: HistoryState, *, now: datetime) -> int:
        """From how many files of history the points would be read. Raises HistoryAwayError."""
        minutes: Sequence[Span] = ()
        hours: Sequence[Span] = ()
        if asked.is_of_minutes:
            minutes = inside([asked.span], (ALWAYS, min(self.minutes_cut(now), history.end)))
        else:
            old = ALWAYS, min(cut(now, self._hours_kept_days), history.end)
            if isinstance(asked, Points):
                hours = inside(asked.pieces.hours, old)
                minutes = inside(asked.pieces.split_hours, (ALWAYS, history.end))
            elif asked.step == HOUR:
                hours = inside([asked.span], old)
        found = await asyncio.gather(
            self._history.files(history.manifest, "minutes", video_id, minutes),
            self._history.files(history.manifest, "hours", video_id, hours),
        )
        return sum(found)

    def minutes_cut(self, now: datetime) -> datetime:
        """The time before which minutes come from Parquet, as far as history reaches."""
        return cut(now, self._minutes_kept_days)

    def hours_cut(self, now: datetime) -> datetime:
        """The time before which hours come from Parquet, as far as history reaches."""
        return cut(now, self._hours_kept_days)

    async def _minutes(
        self, video_id: str, kind: str, spans: Sequence[Span], history: HistoryState, *, before: datetime, now: datetime
    ) -> list[tuple[datetime, int]]:
        """(minute, views): before `before` from history, as far as it reaches, and from then on from the stream."""
        old = ALWAYS, min(before, history.end)
        hot, cold = await asyncio.gather(
            self._hot_minutes(video_id, kind, inside(outside(spans, old), (ALWAYS, _future(now)))),
            self._history.rows(history.manifest, "minutes", video_id, kind, inside(spans, old)),
        )
        return [*hot, *cold]

    async def _open_minutes(
        self, video_id: str, kind: str, span: Span, history: HistoryState, now: datetime
    ) -> list[tuple[datetime, int]]:
        """(minute, views) of what history has not counted. Read it after what history has."""
        kept_from = datetime.combine(now.date() - self._minutes_kept_days * DAY, time(), UTC)
        spans = inside([span], (max(kept_from, history.end), _future(now)))
        return await self._hot_minutes(video_id, kind, spans)

    async def _hot_minutes(self, video_id: str, kind: str, spans: Sequence[Span]) -> list[tuple[datetime, int]]:
        parts = await asyncio.gather(
            *(
                self._session.rows("minutes", (video_id, kind, day, naive(start), naive(end)))
                for start, end in spans
                for day in dates(start, end)
            )
        )
        return [(row.minute, row.views) for rows in parts for row in rows]

    async def _hours(
        self, video_id: str, kind: str, spans: Sequence[Span], history: HistoryState, now: datetime
    ) -> list[Rolled]:
        old = ALWAYS, min(cut(now, self._hours_kept_days), history.end)
        # Spans with little in between are read as one: rows that nobody asked for cost less than further reads.
        hot_spans = nearly_merged(inside(outside(spans, old), (ALWAYS, _future(now))), DAY)
        asked = sorted({at for start, end in hot_spans for at in months(start.date(), (end - MINUTE).date())})
        rows, cold = await asyncio.gather(
            self._rolled_hours.rows(video_id, kind, asked, history),
            self._history.rows(history.manifest, "hours", video_id, kind, inside(spans, old)),
        )
        bounds = [(naive(start), naive(end)) for start, end in hot_spans]
        hot = [row for row in rows if any(start <= row[0] < end for start, end in bounds)]
        # The rollup writes an hour once it is complete.
        return [Rolled(hour, views, hour + HOUR) for hour, views in [*hot, *cold]]

    async def _days(self, video_id: str, kind: str, spans: Sequence[Span]) -> list[Rolled]:
        if not spans:
            return []
        first, last = spans[0][0].date(), (spans[-1][1] - MINUTE).date()
        rows = await self._session.rows("days", (video_id, kind, first, last))
        return [Rolled(datetime.combine(row.day.date(), time()), row.views, row.complete_through) for row in rows]

    async def marked(self, video_id: str, kind: str, days: Series) -> dict[datetime, int]:
        """The marked views of each complete day (UTC), by its start."""
        if days.points == 0:
            return {}
        rows = await self._session.rows("marked", (video_id, kind, days.starts[0].date(), days.starts[-1].date()))
        starts = ((datetime.combine(row.day.date(), time(), UTC), row.marked) for row in rows)
        return {start: marked for start, marked in starts if marked is not None}

    async def day_changes(self, video_id: str, kind: str, day: date) -> list[DayChange]:
        """The changes of the day's numbers, the oldest first."""
        return [DayChange(*row) for row in await self._session.rows("changes", (video_id, kind, day))]

    async def top(self, question: TopQuestion, *, now: datetime) -> MergedTop:
        """The merged list that is asked for."""
        newest = question.at or now + MINUTE
        oldest = question.at or newest - MINUTES_LOOKED_BACK
        bounds = (naive(oldest), naive(newest))
        hours = {at.replace(minute=0, second=0, microsecond=0) for at in bounds}

        async def lists(kind: str) -> list[ShardTop]:
            parts = await asyncio.gather(
                *(self._session.rows("top", (kind, question.span, hour, *bounds)) for hour in sorted(hours))
            )
            return [ShardTop(*row) for rows in parts for row in rows]

        rows, kinds = await asyncio.gather(lists(question.kind), lists(OF_KINDS))
        by_growth = question.span == "trending"
        return top.merge_top(rows, kinds, kind=question.kind, by_growth=by_growth, limit=question.limit)

    async def closed_top(
        self, question: ClosedTopQuestion, history: HistoryState, *, now: datetime
    ) -> ClosedTop | None:
        """The list that is asked for; None if the rollup has not made it yet, or if its row has expired."""
        last = question.start or now
        first = question.start or last - ROLLUPS_LOOKED_BACK
        step = DAY if question.is_of_day else HOUR
        # If later views are unknown, it is also unknown which list is the newest.
        self.check(history, [(ALWAYS, now) if question.start is None else (first, first + step)], now=now)
        name = question.kind, question.country
        if question.is_of_day:
            parts = [await self._session.rows("top_of_day", (*name, first.date(), last.date()))]
        else:
            bounds = naive(first), naive(last)
            parts = await asyncio.gather(
                *(
                    self._session.rows("top_of_hour", (*name, month, *bounds))
                    for month in months(first.date(), last.date())
                )
            )
        rows = [row for rows in parts for row in rows]
        if not rows:
            return None if question.start is None else self._empty_top(question.start, step, history, now)
        return top.closed_top(question, rows)

    async def channel_top(
        self, question: ClosedTopQuestion, history: HistoryState, *, now: datetime
    ) -> ClosedTop | None:
        """The list of a channel and day that is asked for; None if the rollup has not made it, or not yet."""
        assert question.channel is not None
        start = question.start
        self.check(history, [(ALWAYS, now) if start is None else (start, start + DAY)], now=now)
        if history.through is None:
            return None
        if start is None:
            start = (history.through - HOUR).replace(hour=0)
        if not history.start - DAY < start < history.through:
            return None
        day = day_number(start.date())
        columns = ["rank", "video_id", "views"]
        found = await self.by_day(
            "channel_top_days", question.channel, question.kind, range(day, day + 1), columns, history
        )
        if found.lacking:
            return None
        rows = sorted(tuple(row.values()) for table in found.tables.get(day, []) for row in table.to_pylist())
        videos = [TopVideo(video, views, 0, None) for _, video, views in rows]
        return ClosedTop(start, min(start + DAY, history.through), videos)

    async def channel_total(self, channel_id: str, kind: str, history: HistoryState) -> tuple[int, int] | None:
        """(views, late_added) of a channel before `history.through`; None before the first rollup."""
        if history.through is None:
            return None
        found = await self.by_day("channel_totals", channel_id, kind, range(1), ["views", "late_added"], history)
        if 0 not in found.tables:
            raise HistoryAwayError("history has no totals of channels yet: the next rollup makes them")
        rows = [row for table in found.tables[0] for row in table.to_pylist()]
        return sum(row["views"] for row in rows), sum(row["late_added"] for row in rows)

    def _empty_top(self, start: datetime, step: timedelta, history: HistoryState, now: datetime) -> ClosedTop | None:
        """An empty list, if history has counted that time and its row cannot have expired; None otherwise."""
        if step == HOUR:
            is_counted = max(history.start, cut(now, self._hours_kept_days)) <= start and start + HOUR <= history.end
        else:
            is_counted = history.start <= start < history.end
        return ClosedTop(start, min(start + step, history.end), []) if is_counted else None

    async def channel_hours(
        self, channel_id: str, kind: str, series: Series, history: HistoryState, *, now: datetime
    ) -> list[tuple[datetime, int | None]]:
        """(start, views) of every hour. Views are None if the hour is not counted, or not counted by channel.

        Raises HistoryAwayError and TooManyFilesError, too.
        """
        if series.points == 0:
            return []
        self.check(history, [(series.start, series.end)], now=now)
        old_end = min(max(series.start, cut(now, self._hours_kept_days)), series.end, max(series.start, history.end))
        old, lacking = await self._old_channel_hours(channel_id, kind, (series.start, old_end), history)
        parts = await asyncio.gather(
            *(
                self._session.rows("channel_hours", (channel_id, kind, month, naive(old_end), naive(series.end)))
                for month in (months(old_end.date(), (series.end - MINUTE).date()) if old_end < series.end else ())
            )
        )
        views = old | {row.hour.replace(tzinfo=UTC): row.views for rows in parts for row in rows}

        def known(start: datetime) -> int | None:
            is_counted = history.start <= start < history.end and start not in lacking
            return views.get(start, 0 if is_counted else None) if start < history.end else None

        return [(start, known(start)) for start in series.starts]

    async def _old_channel_hours(
        self, channel_id: str, kind: str, span: Span, history: HistoryState
    ) -> tuple[dict[datetime, int], set[datetime]]:
        """Views of a channel by hour within a span, from history; and hours that it has not counted by channel."""
        if span[0] >= span[1]:
            return {}, set()
        days = range(day_number(span[0].date()), day_number((span[1] - MINUTE).date()) + 1)
        found = await self.by_day("channels", channel_id, kind, days, ["hour", "views"], history)
        rows = [row for of in found.tables.values() for table in of for row in table.to_pylist()]
        views = {row["hour"]: row["views"] for row in rows if span[0] <= row["hour"] < span[1]}
        return views, {hour_start(hour) for hour in found.lacking if span[0] <= hour_start(hour) < span[1]}

    async def audits(self, start: datetime, end: datetime) -> tuple[list[Any], list[Any]]:
        """The verdicts on the days from `start` to before `end`, and the findings of audits of these days."""
        days = dates(start, end)
        cuts = [days[at : at + AUDIT_DAYS_AT_ONCE] for at in range(0, len(days), AUDIT_DAYS_AT_ONCE)]

        async def rows(statement: str) -> list[Any]:
            parts = await asyncio.gather(*(self._session.rows(statement, (cut,)) for cut in cuts))
            return [row for part in parts for row in part]

        verdicts, findings = await asyncio.gather(rows("verdicts_of_days"), rows("findings_of_days"))
        return verdicts, findings

    async def ledger(self, minutes: Series, *, is_beside: bool = False) -> dict[datetime, dict[str, int]]:
        """The sums of LEDGER_COLUMNS over all salts, by minute of arrival; without minutes in which nothing arrived.

        Whoever asks beside the requests of clients never waits for them.
        """
        statement = "newest_ledger" if is_beside else "ledger"
        starts = minutes.starts
        cuts = [starts[at : at + LEDGER_MINUTES_AT_ONCE] for at in range(0, len(starts), LEDGER_MINUTES_AT_ONCE)]
        parts = await asyncio.gather(
            *(self._session.rows(statement, ([naive(start) for start in cut],)) for cut in cuts)
        )
        return {
            row.minute.replace(tzinfo=UTC): {name: getattr(row, name) or 0 for name in LEDGER_COLUMNS}
            for rows in parts
            for row in rows
        }


def _future(now: datetime) -> datetime:
    """The end of tomorrow, as far as totals look: no writer's clock is a day ahead. Nothing after it need be read."""
    return datetime.combine(now.date() + 2 * DAY, time(), UTC)
