"""A client for tests of programs that count views: it records events, and touches no network."""

import time
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from view_counts_client.client import Client
from view_counts_client.endpoints import State
from view_counts_client.events import VIEW, check_ids, other_fields, own_id, own_time_ms
from view_counts_client.happenings import Counts
from view_counts_client.ids import Ids, text_of
from view_counts_client.sender import Remaining


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as it would have been sent."""

    event_id: str
    viewed_at_ms: int
    video_id: str
    kind: str
    viewer_id: str | None
    country: str | None
    device: str | None
    user_agent: str | None


class TestingClient(Client):
    """Takes what Client takes, refuses what it refuses, and holds the events in `events`."""

    # It is no test, whatever its name.
    __test__ = False

    def __init__(self) -> None:
        self.events: list[Seen] = []
        self._made = Ids()

    def view(
        self,
        video_id: str,
        *,
        viewer_id: str | None = None,
        kind: str = VIEW,
        country: str | None = None,
        device: str | None = None,
        user_agent: str | None = None,
        viewed_at: datetime | int | None = None,
        event_id: UUID | str | None = None,
    ) -> None:
        """Record the event. Raises what Client.view raises for it."""
        check_ids(video_id, viewer_id)
        other_fields(kind, country, device, user_agent)
        if event_id is not None:
            identity = own_id(event_id)
            at_ms = own_time_ms(viewed_at, identity)
        else:
            at_ms = time.time_ns() // 1_000_000 if viewed_at is None else own_time_ms(viewed_at, b"")
            identity = self._made.make(at_ms)
        named = text_of(identity) if isinstance(identity, bytes) else identity
        self.events.append(Seen(named, at_ms, video_id, kind, viewer_id, country, device, user_agent))

    def seen(self, video_id: str | None = None, **fields: str | None) -> list[Seen]:
        """The events of this video, if one is named, with these values."""
        wanted = fields if video_id is None else {"video_id": video_id, **fields}
        return [event for event in self.events if all(getattr(event, name) == wanted[name] for name in wanted)]

    def assert_viewed(self, video_id: str, *, times: int = 1, **fields: str | None) -> None:
        """Fail unless so many events of this video with these values were recorded."""
        found = len(self.seen(video_id, **fields))
        if found != times:
            raise AssertionError(f"{video_id} {fields or ''} was viewed {found} times, not {times}: {self.events}")

    def assert_nothing_viewed(self) -> None:
        """Fail if an event was recorded."""
        if self.events:
            raise AssertionError(f"{len(self.events)} events were recorded: {self.events}")

    def flush(self, timeout_s: float | None = None) -> Remaining:  # noqa: ARG002 - nothing waits
        """Return at once."""
        return self.remaining()

    def close(self, timeout_s: float | None = None) -> Remaining:  # noqa: ARG002 - nothing waits
        """Return at once."""
        return self.remaining()

    def remaining(self) -> Remaining:
        """Nothing."""
        return Remaining(0, 0)

    @property
    def counts(self) -> Counts:
        """As if everything had been delivered."""
        return Counts(viewed=len(self.events), delivered=len(self.events))

    def endpoints(self) -> dict[str, State]:
        """None."""
        return {}
