"""Options of a client that sends at once and tries again soon, for tests against a stub."""

from dataclasses import replace
from typing import Any

from view_counts_client import Options

QUICK = Options(
    batch_events_max=50,
    backoff_first_s=0.002,
    backoff_most_s=0.02,
    breaker_first_s=0.005,
    breaker_most_s=0.02,
    retries_per_s=1000,
    batch_age_max_s=0.01,
    flush_on_sigterm=False,
)


def quick(**changes: Any) -> Options:
    """These, with some changed."""
    return replace(QUICK, **changes)
