"""Where the sender takes events from: a queue in memory, a spool or a file."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from view_counts_client.events import Event


class Batch(NamedTuple):
    """Events that are sent in one body. `origin` is the source's own."""

    events: Sequence[Event]
    origin: object


class Source(Protocol):
    """The sender's thread alone calls these, save where it is said."""

    def due_s(self, now_s: float, *, hurry: bool) -> float | None:
        """How long to wait until a batch is to be sent; None if nothing waits. In a hurry, any is due."""
        ...

    def take(self, now_s: float) -> Batch:
        """The next batch, which is due. All its times are right. It has no event if nothing is there after all."""
        ...

    def settled(self, batch: Batch, again: Sequence[Event], now_s: float, random: float) -> None:
        """Forget a batch, save for those of its events that are to be sent once more, after a wait."""
        ...

    def correct(self, shift_ms: int) -> None:
        """Set right the times of all events that were made by the device's clock, and of those that will be."""
        ...

    def waiting(self) -> int:
        """How many events are not settled, without those of the batch in hand. From any thread."""
        ...
