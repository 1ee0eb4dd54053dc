"""Times as people read them."""

from datetime import UTC, datetime

CALENDAR_END_MS = 253_402_300_799_000


def utc(at_ms: int) -> str:
    """RFC 3339 to the second; what no calendar holds is its first or last time."""
    at = datetime.fromtimestamp(min(max(at_ms, 0), CALENDAR_END_MS) / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
