"""Reads and checks a request's parameters. Knows no HTTP framework and no Cassandra.

A bad parameter raises ParameterError, which names the field, its value and what it may be. services.query.api.routes
describes the parameters and their defaults by the constants below.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from schemas import limits
from schemas.kinds import BLOCKED_PREFIX
from schemas.values import ValueFormError, time_ms, whole_number
from services.parameters import ParameterError
from services.query.counts import zones
from services.query.counts.series import Series
from services.query.counts.top import ClosedTopQuestion, TopQuestion
from services.query.counts.zones import LocalDays

# The kind of blocked views is a client's kind with a prefix.
KIND_BYTES_MAX = limits.KIND_BYTES_MAX + len(BLOCKED_PREFIX)
DEFAULT_KIND = "view"
STEPS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
DEFAULT_GRANULARITY = "minute"
# How long a series is without `from`, by granularity.
DEFAULT_SPANS = {"minute": timedelta(hours=1), "hour": timedelta(days=1), "day": timedelta(days=30)}
# The only granularity of channels.
CHANNEL_GRANULARITY = "hour"
SPANS = ("hour", "minute", "trending")
DEFAULT_SPAN = "hour"
# The spans of the lists that the rollup makes: an hour of the clock, and a day.
CLOSED_SPANS = {"clock_hour": "hour", "day": "day"}
EVERYWHERE = "*"
TOP_MAX = 100
DEFAULT_LIMIT = 10
LEDGER_MINUTES_MAX = 1440
# Ingest takes no events of other years, and arithmetic with dates near the ends of the calendar fails.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNESCAPED_PLUS = re.compile(r" ([0-9]{2}:?[0-9]{2})$")


def check_name(field: str, value: str, bytes_max: int) -> str:
    """Return `value` if it is 1 to `bytes_max` bytes of UTF-8. Raises ParameterError otherwise."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise ParameterError(field, ascii(value), "must be UTF-8") from error
    if not 1 <= size <= bytes_max:
        raise ParameterError(field, value, f"must be 1 to {bytes_max} bytes of UTF-8, is {size}")
    return value


def read_kind(query: Mapping[str, str]) -> str:
    """The kind of events that `kind` asks for."""
    return check_name("kind", query.get("kind", DEFAULT_KIND), KIND_BYTES_MAX)


def read_series(query: Mapping[str, str], *, now: datetime, points_max: int) -> Series:
    """The series that `granularity`, `from` and `to` ask for.

    By default it is a series of minutes that ends with the current minute. A series without `from` is an hour of
    minutes, a day of hours or 30 days long. `from` is rounded down and `to` up to the granularity, so that every point
    is whole. Days are days of UTC. Raises ParameterError, also for more than `points_max` points.
    """
    granularity = query.get("granularity", DEFAULT_GRANULARITY)
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


def read_channel_series(query: Mapping[str, str], *, now: datetime, points_max: int) -> Series:
    """The series of a channel: as `read_series`, by the hour."""
    granularity = query.get("granularity", CHANNEL_GRANULARITY)
    if granularity != CHANNEL_GRANULARITY:
        raise ParameterError("granularity", granularity, "must be hour: channels are counted by the hour")
    return read_series({**query, "granularity": granularity}, now=now, points_max=points_max)


def read_local_days(query: Mapping[str, str], *, now: datetime, points_max: int) -> LocalDays:
    """The days of `zone` that the time from `from` to `to` touches; by default today and the 30 days before it.

    Raises ParameterError, also when the days have more than `points_max` hours.
    """
    name = query["zone"]
    granularity = query.get("granularity", DEFAULT_GRANULARITY)
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
    """The minutes of arrival that `from` and `to` ask for: by default the last hour, and at most a day."""
    bounds = {name: query[name] for name in ("from", "to") if name in query}
    return read_series(bounds, now=now, points_max=LEDGER_MINUTES_MAX)


def read_day(query: Mapping[str, str]) -> date:
    """The date that `day` asks for."""
    text = query.get("day", "")
    try:
        # Python reads other forms too, such as 2026-W05-6.
        day = date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError as error:
        raise ParameterError("day", text, "must be a date such as 2026-01-31") from error
    return _within("day", text, (day - date(1970, 1, 1)) // timedelta(milliseconds=1)).date()


def read_top(query: Mapping[str, str]) -> TopQuestion | ClosedTopQuestion:
    """The list that `kind`, `span`, `country`, `limit` and `at` ask for."""
    span = query.get("span", DEFAULT_SPAN)
    if span not in SPANS and span not in CLOSED_SPANS:
        raise ParameterError("span", span, f"must be one of {', '.join((*SPANS, *CLOSED_SPANS))}")
    country = query.get("country", EVERYWHERE)
    if country != EVERYWHERE and not (len(country) == 2 and country.isascii() and country.isalpha()):
        raise ParameterError("country", country, f"must be two letters, such as DE, or {EVERYWHERE}")
    if country != EVERYWHERE and span in SPANS:
        raise ParameterError("country", country, f"goes with span={' or span='.join(CLOSED_SPANS)}, not with {span}")
    limit = query.get("limit", str(DEFAULT_LIMIT))
    try:
        entries = whole_number(limit)
    except ValueFormError as error:
        raise ParameterError("limit", limit, str(error)) from error
    if not 1 <= entries <= TOP_MAX:
        raise ParameterError("limit", limit, f"must be 1 to {TOP_MAX}")
    step = STEPS[CLOSED_SPANS.get(span, "minute")]
    at = _floor(_instant("at", query["at"]), step) if "at" in query else None
    kind = read_kind(query)
    if span in CLOSED_SPANS:
        return ClosedTopQuestion(kind, span, country.upper(), entries, at)
    return TopQuestion(kind, span, entries, at)


def _range(query: Mapping[str, str], now: datetime) -> tuple[datetime | None, datetime]:
    """(`from`, or None; `to`, or now)."""
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
