"""Totals of videos, held near by. Knows no HTTP.

A total is the sum of three parts:

- **the row** of the rollup, which says how far it reaches, with what was imported;
- **closed minutes**: those from there on that the stream has closed. The stream changes them no more;
- **open minutes**: all later ones.

Rollups, repairs, imports and restores give history a new revision when their rows are in the tables. So the row and the
closed minutes are held for as long as the revision stands, and for CLOSED_KEPT_S at most, in case somebody changes rows
without a revision. Open minutes are held for `fresh_s`. With a total stands what was known before its open minutes were
read: an answer says how complete it is by that, and not by what has become known since.

What is asked at the same time is read together, because a statement costs this process more than a row does.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from time import monotonic
from typing import Any, NamedTuple

from services.query.cache.held import Held
from services.query.cache.together import Together
from services.query.counts.batch import rows_of_many
from services.query.counts.completeness import HOUR
from services.query.counts.known import Known
from services.query.counts.series import days_of_total, naive
from services.query.counts.session import ReadSession

CLOSED_KEPT_S = 600.0
# A total that is still used when this part of its time is over is read anew while it is still answered.
EARLY = 0.75
# So many videos of one reading, and so many readings at a time.
VIDEOS_AT_ONCE = 64
READS_AT_ONCE = 4
# Minutes further back than this are summed by Cassandra, instead of being read one by one.
FAR = 3 * HOUR
EPOCH = datetime(1970, 1, 1)
# Bytes of a total with one kind, of each further kind, and of its key. They were measured by tracemalloc.
TOTAL_BYTES, KIND_BYTES = 950, 150

# A video, and the kinds that are asked for together.
Key = tuple[str, tuple[str, ...]]


class Asked(NamedTuple):
    """What goes with a question for a total: what is known already, and the time."""

    known: Known
    now: datetime


class Counted(NamedTuple):
    """What does not change as long as history has this `state`: by kind, in the order of the kinds.

    `closed` is the row and the closed minutes, from `since` on to before `closed_to`. `begun_s` is when the row was
    read. Times are naive UTC.
    """

    state: tuple[object, ...]
    begun_s: float
    since: tuple[datetime, ...]
    closed: tuple[int, ...]
    imported: tuple[int, ...]
    late_added: tuple[int, ...]
    closed_to: datetime


class Total(NamedTuple):
    """The counted and the imported views of a video, by kind. `views` leave the imported ones out.

    `late_added` are those views that the rollup has added, because they came too late for the stream.

    `known` is what was known before they were read, and `read_s` is when reading began.
    """

    views: tuple[int, ...]
    imported: tuple[int, ...]
    late_added: tuple[int, ...]
    known: Known
    read_s: float
    counted: Counted


class Kept:
    """A total while it is fresh, and then only what is still used of it.

    What was known beside a total has the listing of overflow, which may be large. So nothing here may keep it for
    longer: old totals would each have a listing of their own, which no bound on bytes counts.
    """

    __slots__ = ("counted", "total")

    def __init__(self, total: Total) -> None:
        self.total: Total | None = total
        self.counted = total.counted


class Totals:
    """Answers for totals. If `fresh_s` is 0, nothing is held."""

    def __init__(self, session: ReadSession, *, kept_days: int, fresh_s: float, bytes_max: int) -> None:
        self._session = session
        self._kept_days = kept_days
        self._fresh_s = fresh_s
        self._held: Held[Key, Kept] = Held(bytes_max if fresh_s else 0, _size)
        self._reads: Together[Key, Asked, Total] = Together(
            self._read, keys_max=VIDEOS_AT_ONCE, calls_max=READS_AT_ONCE
        )

    async def get(self, video_id: str, kinds: tuple[str, ...], known: Known, *, now: datetime) -> Total:
        """The total of a video by kind, at most `fresh_s` old. Raises StoreAwayError and HistoryAwayError.

        The caller has checked that history and minutes have all views.
        """
        key = video_id, kinds
        asked = Asked(known, now)
        kept = self._held.get(key)
        total = None if kept is None else kept.total
        if total is not None and total.counted.state == known.history.state:
            now_s = monotonic()
            if now_s - total.read_s < self._fresh_s:
                if now_s >= self.fresh_until_s(total):
                    self._reads.begin(key, asked)
                return total
        return await self._reads.get(key, asked)

    def fresh_until_s(self, total: Total) -> float:
        """The time by the monotonic clock at which a total begins to be read anew by whoever asks for it."""
        return total.read_s + EARLY * self._fresh_s

    async def _read(self, asked: Mapping[Key, Asked]) -> Mapping[Key, Total]:
        groups: dict[tuple[str, ...], dict[str, Asked]] = {}
        for (video_id, kinds), one in asked.items():
            groups.setdefault(kinds, {})[video_id] = one
        found: dict[Key, Total] = {}
        for totals in await asyncio.gather(*(self._read_kinds(kinds, of) for kinds, of in groups.items())):
            found |= totals
        if self._fresh_s:
            self._keep(found)
        return found

    def _keep(self, found: Mapping[Key, Total]) -> None:
        """Hold these totals, each as a whole until it is no longer fresh."""
        kept = {key: Kept(total) for key, total in found.items()}
        for key, one in kept.items():
            self._held.put(key, one)
        asyncio.get_running_loop().call_later(self._fresh_s, _let_totals_go, list(kept.values()))

    async def _read_kinds(self, kinds: tuple[str, ...], asked: Mapping[str, Asked]) -> dict[Key, Total]:
        """Rows of history are read before minutes. Else a rollup in between could count views in both, or in none."""
        read_s = monotonic()
        counted = {video_id: self._still(video_id, kinds, one.known, read_s) for video_id, one in asked.items()}
        new = {video_id: asked[video_id] for video_id, one in counted.items() if one is None}
        all_counted = {video_id: one for video_id, one in counted.items() if one is not None}
        if new:
            all_counted |= await self._rows(kinds, new, read_s)
        all_counted = await self._close_far(kinds, asked, all_counted)
        sums = await self._minutes(kinds, asked, all_counted)
        return {
            (video_id, kinds): _total(one, sums[video_id], asked[video_id].known, read_s)
            for video_id, one in all_counted.items()
        }

    def _still(self, video_id: str, kinds: tuple[str, ...], known: Known, now_s: float) -> Counted | None:
        held = self._held.get((video_id, kinds))
        if held is None or held.counted.state != known.history.state or now_s - held.counted.begun_s > CLOSED_KEPT_S:
            return None
        return held.counted

    async def _rows(self, kinds: tuple[str, ...], asked: Mapping[str, Asked], begun_s: float) -> dict[str, Counted]:
        videos = list(asked)
        has_imports = any(one.known.history.has_imports for one in asked.values())
        rows, imports = await asyncio.gather(
            rows_of_many(self._session, "bases", videos, kinds),
            rows_of_many(self._session, "imported", videos, kinds) if has_imports else _nothing(),
        )
        bases = {(row.video_id, row.kind): row for row in rows}
        imported = {(row.video_id, row.kind): row.views for row in imports}
        found = {}
        for video_id, one in asked.items():
            history = one.known.history
            mine = [bases.get((video_id, kind)) for kind in kinds]
            # A row is written when it changes, so it lacks nothing before the end of history, however old it is.
            end = max(naive(history.end), EPOCH)
            since = tuple(end if row is None else max(end, row.complete_through) for row in mine)
            found[video_id] = Counted(
                history.state,
                begun_s,
                since,
                tuple(0 if row is None else row.views for row in mine),
                tuple(imported.get((video_id, kind), 0) if history.has_imports else 0 for kind in kinds),
                tuple(0 if row is None else row.late_added or 0 for row in mine),
                EPOCH,
            )
        return found

    async def _close_far(
        self, kinds: tuple[str, ...], asked: Mapping[str, Asked], counted: dict[str, Counted]
    ) -> dict[str, Counted]:
        """The same, but closed minutes are summed where they are so many that reading them one by one takes long."""
        spans: dict[tuple[str, datetime, datetime], list[str]] = {}
        for video_id, one in counted.items():
            complete = asked[video_id].known.complete
            if complete is not None:
                for kind, first in zip(kinds, _firsts(one), strict=True):
                    if naive(complete) - first > FAR:
                        spans.setdefault((kind, first, naive(complete)), []).append(video_id)
        if not spans:
            return counted

        async def sums(kind: str, first: datetime, end: datetime, videos: list[str]) -> dict[tuple[str, str], int]:
            days = self._days(first, [asked[video_id] for video_id in videos])
            rows = await rows_of_many(
                self._session, "minute_sums", videos, [kind], days, first, end, partitions=len(days)
            )
            found = dict.fromkeys(((video_id, kind) for video_id in videos), 0)
            for row in rows:
                found[row.video_id, kind] += row.views or 0
            return found

        closed: dict[tuple[str, str], int] = {}
        for part in await asyncio.gather(*(sums(*span, videos) for span, videos in spans.items())):
            closed |= part
        return {video_id: _closed(one, kinds, video_id, asked[video_id], closed) for video_id, one in counted.items()}

    async def _minutes(
        self, kinds: tuple[str, ...], asked: Mapping[str, Asked], counted: Mapping[str, Counted]
    ) -> dict[str, list[list[int]]]:
        """By video and kind: the views of closed minutes that are not in `counted` yet, and those of open minutes."""
        firsts = {video_id: _firsts(one) for video_id, one in counted.items()}
        first = min(at for of in firsts.values() for at in of)
        days = self._days(first, asked.values())
        rows = await rows_of_many(
            self._session, "recent_minutes", list(asked), kinds, days, first, partitions=len(days)
        )
        sums = {video_id: [[0, 0] for _ in kinds] for video_id in asked}
        places = {kind: place for place, kind in enumerate(kinds)}
        for row in rows:
            place = places[row.kind]
            if row.minute >= firsts[row.video_id][place]:
                complete = asked[row.video_id].known.complete
                is_open = complete is None or row.minute >= naive(complete)
                sums[row.video_id][place][is_open] += row.views
        return sums

    def _days(self, first: datetime, asked: Iterable[Asked]) -> list[date]:
        """The days that may have minutes from `first` on."""
        found: set[date] = set()
        for today, latest in {(one.now.date(), _latest(one)) for one in asked}:
            found.update(day for day in days_of_total(today, self._kept_days) if first.date() <= day <= latest)
        return sorted(found)


def _latest(asked: Asked) -> date:
    """The last day that may have minutes: the next one from an hour before it begins on.

    A writer's clock may be ahead of this one. How far the stream has come tells its time, too.
    """
    complete = asked.known.complete
    return ((asked.now if complete is None else max(asked.now, complete)) + HOUR).date()


def _firsts(counted: Counted) -> list[datetime]:
    """By kind: the first minute that `closed` does not contain."""
    return [max(since, counted.closed_to) for since in counted.since]


def _closed(
    counted: Counted, kinds: Sequence[str], video_id: str, asked: Asked, sums: Mapping[tuple[str, str], int]
) -> Counted:
    """With these sums of closed minutes. If a kind has none, its minutes are near, and they stay to be read."""
    complete = asked.known.complete
    if complete is None or not any((video_id, kind) in sums for kind in kinds):
        return counted
    return counted._replace(
        # From here on, the kinds have limits of their own: those that were summed begin with the open minutes.
        since=tuple(
            max(first, naive(complete)) if (video_id, kind) in sums else first
            for kind, first in zip(kinds, _firsts(counted), strict=True)
        ),
        closed=tuple(views + sums.get((video_id, kind), 0) for kind, views in zip(kinds, counted.closed, strict=True)),
    )


def _total(counted: Counted, sums: Sequence[Sequence[int]], known: Known, read_s: float) -> Total:
    closed = tuple(views + of[0] for views, of in zip(counted.closed, sums, strict=True))
    closed_to = counted.closed_to if known.complete is None else max(counted.closed_to, naive(known.complete))
    return Total(
        tuple(views + of[1] for views, of in zip(closed, sums, strict=True)),
        counted.imported,
        counted.late_added,
        known,
        read_s,
        counted._replace(closed=closed, closed_to=closed_to),
    )


def _let_totals_go(kept: Iterable[Kept]) -> None:
    for one in kept:
        one.total = None


def _size(key: Key, _kept: Kept) -> int:
    video_id, kinds = key
    return TOTAL_BYTES + len(kinds) * KIND_BYTES + len(video_id) + sum(map(len, kinds))


async def _nothing() -> list[Any]:
    return []
