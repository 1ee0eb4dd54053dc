"""Times as text, as answers have them."""

from datetime import datetime


def utc_text(at: datetime) -> str:
    """A time of UTC in RFC 3339, by the second."""
    # It takes a third of the time that strftime does, and an answer may have thousands.
    return f"{at.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def time_text(at: datetime | None) -> str | None:
    """The same; None for none."""
    return None if at is None else utc_text(at)
