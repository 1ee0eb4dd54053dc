"""What can be set of a client, with defaults that fit a server. A wrong value is refused when the options are made."""

import ssl
from dataclasses import dataclass
from typing import Literal

from view_counts_client.bodies import check_encoding
from view_counts_client.spool.log import Fsync

_LEAST = {
    "queue_events_max": 1,
    "queue_bytes_max": 1,
    "batch_events_max": 1,
    "batch_bytes_max": 1,
    "batch_age_max_s": 0,
    "block_max_s": 0,
    "expire_after_s": 1,
    "connect_timeout_s": 0.001,
    "request_timeout_s": 0.001,
    "deadline_s": 0.001,
    "backoff_first_s": 0.001,
    "backoff_most_s": 0.001,
    "retry_share": 0,
    "retries_per_s": 0.001,
    "retries_most": 1,
    "breaker_failures": 1,
    "breaker_first_s": 0.001,
    "breaker_most_s": 0.001,
    "exit_flush_s": 0,
    "spool_bytes_max": 1,
    "spool_fsync_interval_s": 0.001,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The settings of a client."""

    # How much waits in memory. What is being sent comes on top: one batch.
    queue_events_max: int = 100_000
    queue_bytes_max: int = 64 << 20
    # A batch is sent when it has so many events or bytes, or when its first event is so old.
    batch_events_max: int = 5_000
    batch_bytes_max: int = 4 << 20
    batch_age_max_s: float = 0.2
    # How long `view` waits for room.
    block_max_s: float = 1.0
    # What finds no room is dropped, with a warning and a count. Otherwise `view` raises QueueFullError.
    drop_when_full: bool = False
    # VIEW_COUNTS_HISTORY_LATE_HOURS of the service: nothing counts an event that is older.
    expire_after_s: float = 144 * 3600.0
    # The times of events are corrected by the service's clock. Without it, this device's clock must be right.
    correct_clock: bool = True
    encoding: str = "gzip"
    connect_timeout_s: float = 5.0
    request_timeout_s: float = 15.0
    # For one request with all its steps.
    deadline_s: float = 30.0
    backoff_first_s: float = 0.2
    backoff_most_s: float = 30.0
    # So many retries for each first attempt, and so many a second besides.
    retry_share: float = 0.5
    retries_per_s: float = 1.0
    retries_most: int = 20
    breaker_failures: int = 5
    breaker_first_s: float = 1.0
    breaker_most_s: float = 60.0
    # How long the end of the process and SIGTERM wait until all is sent.
    exit_flush_s: float = 5.0
    flush_on_sigterm: bool = True
    # With a spool: "viewed" if `view` returns when the event is on disk, "full" if only what finds no room goes there.
    spool_when: Literal["viewed", "full"] = "viewed"
    spool_bytes_max: int = 1 << 30
    # When the spool is forced to the disk: "each" before `view` returns, "interval" or "never".
    spool_fsync: Literal["each", "interval", "never"] = "interval"
    spool_fsync_interval_s: float = 1.0
    proxy: str | None = None
    ssl_context: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
                raise ValueError(f"{name}={value!r} is too small: set a number of {least} or more")
        check_encoding(self.encoding)
        if self.spool_when not in {"viewed", "full"}:
            raise ValueError(f"spool_when={self.spool_when!r} is not known: choose viewed or full")
        if self.spool_fsync not in {*Fsync}:
            raise ValueError(f"spool_fsync={self.spool_fsync!r} is not known: choose one of {', '.join(Fsync)}")


DEFAULTS = Options()


def checked_endpoints(endpoints: str | list[str] | tuple[str, ...]) -> list[str]:
    """The URLs without a slash at the end. Raises ValueError."""
    urls = [endpoints] if isinstance(endpoints, str) else [*endpoints]
    if not urls:
        raise ValueError("endpoints is empty: name at least one, such as https://views.example.com")
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"endpoints={url!r} is no URL: begin it with http:// or https://")
        if url.rstrip("/").endswith("/v1/events"):
            raise ValueError(f"endpoints={url!r} names a path: leave out /v1/events")
    return [url.rstrip("/") for url in urls]
