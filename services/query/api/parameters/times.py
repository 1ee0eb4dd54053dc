"""Times and dates."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from schemas.values import ValueFormError, time_ms, whole_number
from services.parameters import ParameterError

# Ingest takes no events of other years, and arithmetic with dates near the ends of the calendar fails.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNESCAPED_PLUS = re.compile(r" ([0-9]{2}:?[0-9]{2})$")


def read_day(query: Mapping[str, str]) -> date:
    """The date that `day` asks for."""
    text = query.get("day", "")
    try:
        # Python reads other forms too, such as 2026-W05-6.
        day = date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError as error:
        raise ParameterError("day", text, "must be a date such as 2026-01-31") from error
    return within("day", text, (day - date(1970, 1, 1)) // timedelta(milliseconds=1)).date()


def time_range(query: Mapping[str, str], now: datetime) -> tuple[datetime | None, datetime]:
    """(`from`, or None; `to`, or now)."""
    end = instant("to", query["to"]) if "to" in query else now
    start = instant("from", query["from"]) if "from" in query else None
    if start is not None and start > end:
        raise ParameterError("from", query["from"], f"must not be after to={end.isoformat()}")
    return start, end


def instant(field: str, text: str) -> datetime:
    """The time that `text` is, in RFC 3339 or in ms since 1970. Raises ParameterError."""
    try:
        if text.isdigit():
            return within(field, text, whole_number(text))
        # An offset's plus sign that was not escaped in the URL arrives as a space.
        return within(field, text, time_ms(_UNESCAPED_PLUS.sub(r"+\1", text)))
    except ValueFormError as error:
        raise ParameterError(field, text, str(error)) from error


def within(field: str, text: str, at_ms: int) -> datetime:
    """This time, if it is in the years 2000 to 2099. Raises ParameterError otherwise."""
    if not EARLIEST.timestamp() * 1000 <= at_ms <= LATEST.timestamp() * 1000:
        raise ParameterError(field, text, "must be in the years 2000 to 2099")
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def floor(value: datetime, step: timedelta) -> datetime:
    """The time, rounded down to a multiple of `step` since 2000."""
    return value - (value - EARLIEST) % step
