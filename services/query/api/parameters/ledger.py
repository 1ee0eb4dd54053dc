"""Which minutes of the ledger are asked for."""

from collections.abc import Mapping
from datetime import datetime

from services.query.api.parameters.series import read_series
from services.query.counts.series import Series

LEDGER_MINUTES_MAX = 1440


def read_ledger_minutes(query: Mapping[str, str], *, now: datetime) -> Series:
    """The minutes of arrival that `from` and `to` ask for: by default the last hour, and at most a day."""
    bounds = {name: query[name] for name in ("from", "to") if name in query}
    return read_series(bounds, now=now, points_max=LEDGER_MINUTES_MAX)
