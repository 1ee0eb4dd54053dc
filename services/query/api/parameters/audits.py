"""Which audits are asked for."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from services.parameters import ParameterError
from services.query.api.parameters.choices import number
from services.query.api.parameters.times import EARLIEST, floor, time_range

HOUR = timedelta(hours=1)
DEFAULT_SPAN = timedelta(days=7)
DAYS_MAX = 31
# All hours of the longest range, so that nothing is left out by default.
LIMIT_MAX = 24 * (DAYS_MAX + 1)


class AuditRange(NamedTuple):
    """From `start` to before `end`, both whole hours; the newest `limit` hours of it."""

    start: datetime
    end: datetime
    limit: int


def read_audits(query: Mapping[str, str], *, now: datetime) -> AuditRange:
    """The range that `from`, `to` and `limit` ask for: by default the last 7 days, and at most 31."""
    start, end = time_range(query, now)
    if start is None:
        start = max(EARLIEST, end - DEFAULT_SPAN)
    if end - start > timedelta(days=DAYS_MAX):
        raise ParameterError("from", query.get("from", ""), f"asks for more than {DAYS_MAX} days; narrow the range")
    limit = number(query, "limit", LIMIT_MAX, LIMIT_MAX)
    return AuditRange(floor(start, HOUR), floor(end + HOUR - timedelta(microseconds=1), HOUR), limit)
