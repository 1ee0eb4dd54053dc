"""What a client tells whoever listens, for metrics and logs. One function gets all of it, in the sender's thread."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from view_counts_client.answers import Refusal
from view_counts_client.endpoints import State
from view_counts_client.events import Event

LOG = logging.getLogger("view_counts_client")
DROPS_LOGGED_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """The service has acknowledged so many events."""

    events: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The service will never take these events."""

    events: list[tuple[Event, Refusal]]


@dataclass(frozen=True, slots=True)
class Expired:
    """These events are older than late events are added, so that nothing would count them. They were not sent."""

    events: list[Event]


@dataclass(frozen=True, slots=True)
class Dropped:
    """So many events found no room, and the client is allowed to drop such."""

    events: int


@dataclass(frozen=True, slots=True)
class Retrying:
    """So many events are sent again, after a wait."""

    events: int
    reason: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class EndpointChanged:
    """The breaker of an endpoint has another state."""

    url: str
    state: State


Happening = Delivered | Refused | Expired | Dropped | Retrying | EndpointChanged
Listener = Callable[[Happening], None]


@dataclass(slots=True)
class Counts:
    """What became of the events of this process since its start.

    viewed = delivered + refused + expired + what still waits; `dropped` ones were never taken. With a spool, delivered
    also has what former processes left.
    """

    viewed: int = 0
    delivered: int = 0
    refused: int = 0
    expired: int = 0
    dropped: int = 0
    # Events sent more than once, counted each time.
    resent: int = 0


@dataclass(slots=True)
class Telling:
    """Counts what happens, logs what somebody should know, and passes all of it on."""

    listener: Listener | None = None
    now_s: Callable[[], float] = time.monotonic
    counts: Counts = field(default_factory=Counts)
    _log_from_s: float = field(default=float("-inf"), init=False)

    def __call__(self, happening: Happening) -> None:
        """Tell of it. What a listener raises is logged, because sending must go on."""
        counts = self.counts
        match happening:
            case Delivered():
                counts.delivered += happening.events
            case Refused():
                counts.refused += len(happening.events)
                first = happening.events[0][1]
                LOG.error(
                    "%d events were refused for good; the first: %s=%r: %s; %s",
                    len(happening.events),
                    first.field,
                    first.value,
                    first.reason,
                    first.remedy,
                )
            case Expired():
                counts.expired += len(happening.events)
                LOG.error("%d events are older than late events are added, and were not sent", len(happening.events))
            case Dropped():
                counts.dropped += happening.events
                self._log_dropped()
            case Retrying():
                counts.resent += happening.events
                LOG.info("%d events are sent again in %.1f s: %s", happening.events, happening.wait_s, happening.reason)
            case EndpointChanged():
                LOG.warning("endpoint %s is %s", happening.url, happening.state)
        if self.listener is not None:
            try:
                self.listener(happening)
            except Exception:
                LOG.exception("the listener has failed at %s", happening)

    def _log_dropped(self) -> None:
        # One line for many: whoever drops, drops thousands.
        now_s = self.now_s()
        if now_s >= self._log_from_s:
            self._log_from_s = now_s + DROPS_LOGGED_EVERY_S
            LOG.warning("the queue is full, and events are dropped: %d so far", self.counts.dropped)
