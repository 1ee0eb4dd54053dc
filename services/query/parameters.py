"""From a request's parameters to a checked question. Knows no HTTP framework and no Cassandra.

A bad parameter raises ParameterError, which names the field, its value and what it may be.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from schemas import limits
from schemas.kinds import BLOCKED_PREFIX
from schemas.values import ValueFormError, time_ms, whole_number
from services.query import zones
from services.query.zones import LocalDays

# A kind of blocked events is longer by its prefix.
KIND_BYTES_MAX = limits.KIND_BYTES_MAX + len(BLOCKED_PREFIX)
STEPS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
SPANS = ("hour", "minute", "trending")
# Of the rollup's lists: the hours of the clock, and days.
CLOSED_SPANS = {"clock_hour": "hour", "day": "day"}
EVERYWHERE = "*"
TOP_MAX = 100
LEDGER_MINUTES_MAX = 1440
DEFAULT_SPANS = {"minute": timedelta(hours=1), "hour": timedelta(days=1), "day": timedelta(days=30)}
# Events of other years are not taken in, and dates near the ends of the calendar cannot be counted with.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNESCAPED_PLUS = re.compile(r" ([0-9]{2}:?[0-9]{2})$")


class ParameterError(ValueError):
    """One parameter is bad."""

    def __init__(self, field: str, value: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.value = value
        self.reason = reason


@dataclass(frozen=True)
class Series:
    """Points every `step` from `start` (aligned to the step, UTC) to before `end`, which is aligned too."""

    step: timedelta
    start: datetime
    end: datetime

    @property
    def points(self) -> int:
        """How many points that is."""
        return (self.end - self.start) // self.step

    @property
    def starts(self) -> list[datetime]:
        """When each point begins, in order."""
        return [self.start + place * self.step for place in range(self.points)]


@dataclass(frozen=True)
class TopQuestion:
    """The lists of `kind` and `span` at the minute `at`, or the newest ones when that is None; `limit` entries."""

    kind: str
    span: str
    limit: int
    at: datetime | None


@dataclass(frozen=True)
class ClosedTopQuestion:
    """The list of `kind` and `country` of the hour or day that begins at `start`, or the newest one."""

    kind: str
    span: str
    country: str
    limit: int
    start: datetime | None


def check_known(query: Mapping[str, str], *known: str) -> None:
    """Raises ParameterError for a parameter that is none of these."""
    for field, value in query.items():
        if field not in known:
            raise ParameterError(field, value, f"is not known here; known are {', '.join(known)}")


def check_name(field: str, value: str, bytes_max: int) -> str:
    """VALUE, when it is 1 to `bytes_max` bytes of UTF-8."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise ParameterError(field, ascii(value), "must be UTF-8") from error
    if not 1 <= size <= bytes_max:
        raise ParameterError(field, value, f"must be 1 to {bytes_max} bytes of UTF-8, is {size}")
    return value


def read_series(query: Mapping[str, str], *, now: datetime, points_max: int) -> Series:
    """The series that `granularity`, `from` and `to` ask for.

    By default one of minutes, up to the current one and including it, an hour (of hours: a day, of days: 30) long.
    `from` is rounded down and `to` up to the granularity, so that every point is a whole one. Days are UTC's.
    """
    granularity = query.get("granularity", "minute")
    step = STEPS.get(granularity)
    if step is None:
        raise ParameterError("granularity", granularity, f"must be one of {', '.join(STEPS)}")
    start, end = _range(query, now)
    if start is None:
        start = max(EARLIEST, _floor(end, step) - DEFAULT_SPANS[granularity])
    series = Series(step, _floor(start, step), _floor(end + step - timedelta(microseconds=1), step))
    if series.points > points_max:
        raise ParameterError(
            "from",
            query.get("from", ""),
            f"asks for {series.points} points, more than {points_max}; narrow the range",
        )
    return series


def read_local_days(query: Mapping[str, str], *, now: datetime, points_max: int) -> LocalDays:
    """The days of `zone` that `from` and `to` touch; by default today and the 30 days before it.

    `points_max`: hours in them.
    """
    name = query["zone"]
    granularity = query.get("granularity", "minute")
    if granularity != "day":
        raise ParameterError("zone", name, f"goes with granularity=day, not with {granularity}")
    if name not in zones.names():
        raise ParameterError("zone", name, "must be a zone of the IANA database, such as Europe/Berlin")
    zone = ZoneInfo(name)
    start, end = _range(query, now)
    first = end.astimezone(zone).date() - DEFAULT_SPANS["day"] if start is None else start.astimezone(zone).date()
    days = (end.astimezone(zone).date() - first).days
    days_max = points_max // 24
    if days > days_max:
        raise ParameterError("from", query.get("from", ""), f"asks for more than {days_max} days; narrow the range")
    return zones.local_days(zone, first, end)


def read_ledger_minutes(query: Mapping[str, str], *, now: datetime) -> Series:
    """The minutes of arrival that `from` and `to` ask for; the last hour by default, a day at most."""
    bounds = {name: query[name] for name in ("from", "to") if name in query}
    return read_series(bounds, now=now, points_max=LEDGER_MINUTES_MAX)


def read_day(query: Mapping[str, str]) -> date:
    """The `day` that is asked for."""
    text = query.get("day", "")
    try:
        # Python takes other forms too, such as 2026-W05-6.
        day = date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError as error:
        raise ParameterError("day", text, "must be a date such as 2026-01-31") from error
    return _within("day", text, (day - date(1970, 1, 1)) // timedelta(milliseconds=1)).date()


def read_top(query: Mapping[str, str]) -> TopQuestion | ClosedTopQuestion:
    """The list that `kind`, `span`, `country`, `limit` and `at` ask for."""
    span = query.get("span", "hour")
    if span not in SPANS and span not in CLOSED_SPANS:
        raise ParameterError("span", span, f"must be one of {', '.join((*SPANS, *CLOSED_SPANS))}")
    country = query.get("country", EVERYWHERE)
    if country != EVERYWHERE and not (len(country) == 2 and country.isascii() and country.isalpha()):
        raise ParameterError("country", country, f"must be two letters, such as DE, or {EVERYWHERE}")
    if country != EVERYWHERE and span in SPANS:
        raise ParameterError("country", country, f"goes with span={' or span='.join(CLOSED_SPANS)}, not with {span}")
    limit = query.get("limit", "10")
    try:
        entries = whole_number(limit)
    except ValueFormError as error:
        raise ParameterError("limit", limit, str(error)) from error
    if not 1 <= entries <= TOP_MAX:
        raise ParameterError("limit", limit, f"must be 1 to {TOP_MAX}")
    step = STEPS[CLOSED_SPANS.get(span, "minute")]
    at = _floor(_instant("at", query["at"]), step) if "at" in query else None
    kind = check_name("kind", query.get("kind", "view"), KIND_BYTES_MAX)
    if span in CLOSED_SPANS:
        return ClosedTopQuestion(kind, span, country.upper(), entries, at)
    return TopQuestion(kind, span, entries, at)


def _range(query: Mapping[str, str], now: datetime) -> tuple[datetime | None, datetime]:
    """`from`, None where it is not given, and `to`, or now."""
    end = _instant("to", query["to"]) if "to" in query else now
    start = _instant("from", query["from"]) if "from" in query else None
    if start is not None and start > end:
        raise ParameterError("from", query["from"], f"must not be after to={end.isoformat()}")
    return start, end


def _instant(field: str, text: str) -> datetime:
    try:
        if text.isdigit():
            return _within(field, text, whole_number(text))
        # An offset's plus sign that was not escaped in the URL arrives as a space.
        return _within(field, text, time_ms(_UNESCAPED_PLUS.sub(r"+\1", text)))
    except ValueFormError as error:
        raise ParameterError(field, text, str(error)) from error


def _within(field: str, text: str, at_ms: int) -> datetime:
    if not EARLIEST.timestamp() * 1000 <= at_ms <= LATEST.timestamp() * 1000:
        raise ParameterError(field, text, "must be in the years 2000 to 2099")
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _floor(value: datetime, step: timedelta) -> datetime:
    return value - (value - EARLIEST) % step
