"""Which days, and what of them, is asked for."""

from collections.abc import Mapping
from datetime import datetime

from services.query.api.parameters.choices import one_of
from services.query.api.parameters.series import read_series
from services.query.counts.series import Series

# By what views can be broken down: the data set of history, and its column.
BREAKDOWNS = {"country": ("countries", "country"), "device": ("devices", "device")}


def read_days(query: Mapping[str, str], *, now: datetime, points_max: int) -> Series:
    """The days of UTC that the time from `from` to `to` touches; by default today and the 30 days before it."""
    bounds = {name: query[name] for name in ("from", "to") if name in query}
    return read_series({**bounds, "granularity": "day"}, now=now, points_max=points_max)


def read_breakdown(query: Mapping[str, str]) -> str:
    """By what views are broken down."""
    return one_of(query, "by", BREAKDOWNS)
