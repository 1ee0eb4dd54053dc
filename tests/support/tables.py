"""Cassandra's tables as stream, rollups and times to live leave them, for a clock that a test sets. No server.

Knows what the tables are said to hold (docs/history.md, "Tables" and "Ages"), and the statements of the query service.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from types import SimpleNamespace
from typing import Any

import msgspec

from services.query.counts.cold import History
from services.query.counts.completeness import HistoryState, history_state
from services.query.counts.known import Known
from services.query.counts.session import ReadSession
from services.query.counts.store import CountStore
from settings import CassandraSettings, QuerySettings
from tests.support.history import Counts
from udfs.logic.history.register import Register
from udfs.logic.history.video_kinds import as_text

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Tables(CountStore):
    """What the stream counted, and what history has of it up to where the register says.

    A row of a day or a total is as old as the last hour that changed it: rollups write what has changed.
    """

    def __init__(
        self,
        history: History,
        stream: Counts,
        now: datetime,
        register: Register | None,
        *,
        rolled: Counts | None = None,
        channels: Mapping[str, str] | None = None,
    ) -> None:
        # Tests change what the tables have.
        super().__init__(_Rows(self), QuerySettings(fresh_ms=0), history)
        self._stream = stream
        self._rolled = stream if rolled is None else rolled
        self._channels = {} if channels is None else channels
        self._now = now
        self._register = register
        self.asked: list[str] = []
        self.lost_rows: list[Any] = []
        # Imported views by video, kind and day, which may be None.
        self.imported_views: dict[tuple[str, str, date | None], int] = {}

    @property
    def known(self) -> HistoryState:
        """What a service would know that has just read the register."""
        return history_state(self._register)

    @property
    def all_known(self) -> Known:
        """The same, as all that answers share."""
        return Known(0.0, None, self._now.replace(second=0, microsecond=0), self._register, ())

    def start(self) -> None:
        """There is nothing to connect to."""

    async def stop(self) -> None:
        """Nor to leave."""
        self._history.stop()

    def rows(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        """What a session would read."""
        self.asked.append(statement)
        rows: Iterator[Any] = getattr(self, f"_of_{statement}")(*values)
        return list(rows)

    @property
    def _through(self) -> datetime:
        applied = self._register.applied if self._register else None
        return datetime.min.replace(tzinfo=UTC) if applied is None else applied.complete_through

    def _minutes_of(self, counts: Counts, video: str, kind: str) -> Iterator[tuple[datetime, int]]:
        for (of, what, minute), views in counts.items():
            if (of, what) == (video, kind):
                yield datetime.fromtimestamp(minute * 60, UTC), views

    def _kept(self, video: str, kind: str) -> Iterator[tuple[datetime, int]]:
        return ((at, n) for at, n in self._minutes_of(self._stream, video, kind) if at + 8 * DAY > self._now)

    def _counted(self, video: str, kind: str) -> Iterator[tuple[datetime, int]]:
        return ((at, n) for at, n in self._minutes_of(self._rolled, video, kind) if at < self._through)

    # --- by statement

    def _of_progress(self, _pipeline: str) -> Iterator[Any]:
        yield 0, 1, self._now.replace(second=0, microsecond=0, tzinfo=None)

    def _of_missing_records(self, _pipeline: str) -> Iterator[Any]:
        yield from self.lost_rows

    def _of_register(self, _name: str) -> Iterator[Any]:
        if self._register is not None:
            fields = msgspec.structs.asdict(self._register)
            made = datetime.fromtimestamp(fields.pop("made_ms") / 1000, UTC).replace(tzinfo=None)
            applied = fields.pop("applied")
            text = None if applied is None else msgspec.json.encode(applied).decode()
            yield SimpleNamespace(**fields, lease=fields["token"], made_at=made, applied=text)

    def _of_bases(self, videos: list[str], kinds: list[str]) -> Iterator[Any]:
        for video, kind in product(videos, kinds):
            mine = list(self._counted(video, kind))
            if mine:
                last = max(at for at, _ in mine).replace(minute=0, tzinfo=None) + HOUR
                views = sum(n for _, n in mine)
                in_time = sum(n for at, n in self._minutes_of(self._stream, video, kind) if at < self._through)
                late = max(0, views - in_time)
                yield SimpleNamespace(video_id=video, kind=kind, views=views, late_added=late, complete_through=last)

    def _of_imported(self, videos: list[str], kinds: list[str]) -> Iterator[Any]:
        for video, kind in product(videos, kinds):
            mine = [views for (of, what, _), views in self.imported_views.items() if (of, what) == (video, kind)]
            if mine:
                yield SimpleNamespace(video_id=video, kind=kind, views=sum(mine))

    def _of_imported_days(self, video: str, kind: str, first: date, last: date) -> Iterator[Any]:
        for (of, what, day), views in self.imported_views.items():
            if (of, what) == (video, kind) and day is not None and first <= day <= last:
                yield SimpleNamespace(day=datetime.combine(day, time(12)), views=views)

    def _of_kinds(self, videos: list[str]) -> Iterator[Any]:
        for video in videos:
            kinds = sorted({kind for of, kind, _ in self._rolled if of == video and list(self._counted(video, kind))})
            if kinds:
                yield SimpleNamespace(video_id=video, kinds=as_text(kinds), left_out=0)

    def _of_imported_kinds(self, videos: list[str]) -> Iterator[Any]:
        for video in videos:
            kinds = sorted({kind for of, kind, _ in self.imported_views if of == video})
            if kinds:
                yield SimpleNamespace(video_id=video, kinds=as_text(kinds), left_out=0)

    def _of_recent_minutes(
        self, videos: list[str], kinds: list[str], days: list[date], first: datetime
    ) -> Iterator[Any]:
        for video, kind in product(videos, kinds):
            for at, views in self._kept(video, kind):
                if at.date() in days and at.replace(tzinfo=None) >= first:
                    yield SimpleNamespace(video_id=video, kind=kind, minute=at.replace(tzinfo=None), views=views)

    def _of_minute_sums(
        self, videos: list[str], kinds: list[str], days: list[date], first: datetime, end: datetime
    ) -> Iterator[Any]:
        for row in self._of_recent_minutes(videos, kinds, days, first):
            if row.minute < end:
                yield SimpleNamespace(video_id=row.video_id, kind=row.kind, views=row.views)

    def _of_minutes(self, video: str, kind: str, day: date, start: datetime, end: datetime) -> Iterator[Any]:
        for at, views in self._kept(video, kind):
            if at.date() == day and start <= at.replace(tzinfo=None) < end:
                yield SimpleNamespace(minute=at.replace(tzinfo=None), views=views)

    def _of_hours(self, video: str, kind: str, month: date, start: datetime, end: datetime) -> Iterator[Any]:
        return self._hours_between(self._counted(video, kind), month, start, end)

    def _of_channel_hours(self, channel: str, kind: str, month: date, start: datetime, end: datetime) -> Iterator[Any]:
        counted = (row for video, of in self._channels.items() if of == channel for row in self._counted(video, kind))
        return self._hours_between(counted, month, start, end)

    def _hours_between(
        self, counted: Iterator[tuple[datetime, int]], month: date, start: datetime, end: datetime
    ) -> Iterator[Any]:
        sums: Counter[datetime] = Counter()
        for at, views in counted:
            sums[at.replace(minute=0)] += views
        for hour, views in sums.items():
            naive = hour.replace(tzinfo=None)
            if hour.date().replace(day=1) == month and start <= naive < end and hour + HOUR + 100 * DAY > self._now:
                yield SimpleNamespace(hour=naive, views=views)

    def _of_days(self, video: str, kind: str, first: date, last: date) -> Iterator[Any]:
        sums: Counter[date] = Counter()
        through: dict[date, datetime] = {}
        for at, views in self._counted(video, kind):
            sums[at.date()] += views
            end = at.replace(minute=0, tzinfo=None) + HOUR
            through[at.date()] = max(through.get(at.date(), end), end)
        for day, views in sums.items():
            if first <= day <= last:
                noon = datetime.combine(day, time(12))
                yield SimpleNamespace(day=noon, views=views, complete_through=through[day])

    def _of_marked(self, *_values: Any, **_named: Any) -> Iterator[Any]:
        return iter(())

    def _of_changes(self, *_values: Any, **_named: Any) -> Iterator[Any]:
        return iter(())

    def _of_top(self, *_values: Any, **_named: Any) -> Iterator[Any]:
        return iter(())

    def _of_top_of_hour(self, *_values: Any, **_named: Any) -> Iterator[Any]:
        return iter(())

    def _of_top_of_day(self, *_values: Any, **_named: Any) -> Iterator[Any]:
        return iter(())

    def _of_verdicts_of_days(self, *_values: Any, **_named: Any) -> Iterator[Any]:
        return iter(())

    def _of_findings_of_days(self, *_values: Any, **_named: Any) -> Iterator[Any]:
        return iter(())

    def _of_ledger(self, *_values: Any, **_named: Any) -> Iterator[Any]:
        return iter(())

    def _of_newest_ledger(self, minutes: list[datetime]) -> Iterator[Any]:
        return self._of_ledger(minutes)


class _Rows(ReadSession):
    """A session that reads these tables."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(CassandraSettings())
        self._tables = tables

    async def rows(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        return self._tables.rows(statement, values)
