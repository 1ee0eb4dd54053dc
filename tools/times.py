"""Writes times for people."""

from datetime import UTC, datetime

CALENDAR_END_MS = 253_402_300_799_000


def utc(at_ms: int) -> str:
    """A time in ms since 1970 as RFC 3339, to the second. A time outside of 1970 to 9999 becomes the nearest end."""
    at = datetime.fromtimestamp(min(max(at_ms, 0), CALENDAR_END_MS) / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
