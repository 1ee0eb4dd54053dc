"""Times as text, as answers have them."""

from datetime import datetime


def utc_text(at: datetime) -> str:
    """A time of UTC in RFC 3339, by the second."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def time_text(at: datetime | None) -> str | None:
    """The same; None for none."""
    return None if at is None else utc_text(at)
