"""What the golden histories are of: these hours of arrival; and what must come of them, with no code of the product's.

Never changed: histories of versions that are in use somewhere have counted just these. Carried on, a rollup goes on
reading where the one of that version stopped, so the archive must begin with the same records. Knows nothing that was
not there when version 1 was written.
"""

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import mmh3

from schemas import registry
from settings import CountingSettings

FOLDER = Path(__file__).parent.parent / "golden" / "history"
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
# A midnight, 2026-01-01: hours below are counted from it.
START_HOUR = 1_767_225_600_000 // HOUR_MS
RULES = CountingSettings(
    salts=4,
    shards=2,
    max_parallelism=4,
    lateness_ms=5 * MINUTE_MS,
    generation_ms=7 * MINUTE_MS,
    future_skew_ms=MINUTE_MS,
)
# As far as a version has them.
HISTORY = {"late_hours": 24, "late_file_hours": 2, "slice_events_max": 12, "viewer_minute_max": 0, "viewer_day_max": 2}
# Videos whose channel is known.
CHANNELS = {"video-0": "channel-0", "video-2": "channel-1", "video-4": "channel-0"}
LAST_MINUTE = 59


class View(NamedTuple):
    """One that counts once, whatever arrives again. `is_late`: it came after its minute had closed."""

    event_id: bytes
    video: str
    kind: str
    viewed_ms: int
    viewer: str | None
    country: str | None
    is_late: bool

    @property
    def hour(self) -> int:
        """The hour viewed, from START_HOUR."""
        return self.viewed_ms // HOUR_MS - START_HOUR


class Hour(NamedTuple):
    """An hour of arrival: with late views of these hours, and views of those that arrive late once more."""

    hour: int
    late_for: tuple[int, ...] = ()
    repeats_of: tuple[int, ...] = ()
    is_empty: bool = False


# By rollup what was archived before it. The newest hour is never closed, so that the one of 49 is not counted.
FIRST = (Hour(22), Hour(23), Hour(24, late_for=(22,), repeats_of=(23,)), Hour(25))
SECOND = (Hour(26, late_for=(23, 24), repeats_of=(22,)), Hour(47), Hour(48, late_for=(25,), repeats_of=(26,)), Hour(49))
GOLDEN = (FIRST, SECOND)
# What is complete in a golden history. Day 0 is final in it, day 1 is complete, day 2 is neither.
THROUGH = 48


def _view(place: str, number: int, viewed_ms: int, *, is_late: bool) -> View:
    event_id = uuid.uuid5(uuid.NAMESPACE_OID, f"golden history {place} {number}").bytes
    draw = event_id[0]
    return View(
        event_id,
        f"video-{event_id[1] % 5}",
        "like" if draw % 5 == 0 else "view",
        viewed_ms,
        (None, "", "viewer-a", "viewer-b", "viewer-c", "viewer-é")[draw % 6],
        (None, "", "DE", "fr", "1A")[event_id[2] % 5],
        is_late,
    )


def _in_time(hour: int, minute: int) -> list[View]:
    """Those that arrive in a minute of an hour, and were viewed just before."""
    append_ms = (START_HOUR + hour) * HOUR_MS + minute * MINUTE_MS
    return [_view(f"{hour}:{minute}", n, append_ms - 1000 * n, is_late=False) for n in range(10)]


def _late(hour: Hour, minute: int) -> list[View]:
    return [
        _view(f"{hour.hour}:{minute} for {of}", n, (START_HOUR + of) * HOUR_MS + 30 * MINUTE_MS + n, is_late=True)
        for of in hour.late_for
        for n in range(2)
    ]


def arrivals(hours: Iterable[Hour]) -> Iterator[tuple[int, list[View], list[View]]]:
    """(append time, the views that are new, those that are there again), in the order of their arrival."""
    for hour in hours:
        for minute in (0, 30, LAST_MINUTE):
            append_ms = (START_HOUR + hour.hour) * HOUR_MS + minute * MINUTE_MS
            if hour.is_empty:
                yield append_ms, [], []
                continue
            # With the same time, so that they are known by it: those of a minute ago in dedup's memory, others by hour.
            again = _in_time(hour.hour - 1, LAST_MINUTE)[:4] if minute == 0 and hour.hour - 1 in _ARRIVED else []
            again += [view for of in hour.repeats_of for view in _in_time(of, 30)[:3]]
            yield append_ms, [*_in_time(hour.hour, minute), *_late(hour, minute)], again


# Hours of arrival whose last minute has views and is followed by another such hour, in the golden ones and after them.
_ARRIVED = (22, 23, 24, 25, 47, 48, 49)


def new_views(hours: Iterable[Hour]) -> list[View]:
    """All that count, each once."""
    return [view for _, new, _ in arrivals(hours) for view in new]


def records(hours: Iterable[Hour]) -> Iterator[tuple[int, int, bytes]]:
    """(record_ms, salt, value): one of each salt for each arrival, empty ones included."""
    for append_ms, new, again in arrivals(hours):
        by_salt = defaultdict(list)
        for view in (*new, *again):
            by_salt[mmh3.hash(view.event_id, 0, signed=False) % RULES.salts].append(view)
        for salt in range(RULES.salts):
            yield append_ms, salt, _encode(salt, by_salt[salt], append_ms)


def _encode(salt: int, views: Iterable[View], append_ms: int) -> bytes:
    events = [
        {
            "event_id": view.event_id,
            "video_id": view.video,
            "kind": view.kind,
            "viewed_at": view.viewed_ms,
            "viewer_id": view.viewer,
            "country": view.country,
        }
        for view in views
    ]
    batch = {"batch_id": bytes(16), "producer_id": "golden", "salt": salt, "salts": RULES.salts}
    return registry.encode("ViewBatch", {**batch, "produced_at": append_ms, "events": events})


def hours_of(views: Iterable[View], through: int) -> dict[tuple[str, str, int], tuple[int, int]]:
    """(video, kind, hour) to (views, late_added), of hours before `through`."""
    views = [view for view in views if view.hour < through]
    every = Counter((view.video, view.kind, view.hour) for view in views)
    late = Counter((view.video, view.kind, view.hour) for view in views if view.is_late)
    return {cell: (n, late[cell]) for cell, n in every.items()}


def expected(through: int = THROUGH) -> dict[str, list[list[object]]]:
    """What expected.json of a golden history says: rows of (video, kind, hour, views, late_added), and of totals."""
    hours = hours_of(new_views([*FIRST, *SECOND]), through)
    totals: dict[tuple[str, str], list[int]] = {}
    for (video, kind, _), (views, late_added) in hours.items():
        total = totals.setdefault((video, kind), [0, 0])
        total[0] += views
        total[1] += late_added
    return {
        "hours": [[*cell, *counts] for cell, counts in sorted(hours.items())],
        "totals": [[*name, *counts] for name, counts in sorted(totals.items())],
    }


def expected_text() -> str:
    """A row a line."""
    parts = (
        f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for name, rows in expected().items()
    )
    return "{" + ",\n".join(parts) + "}\n"
