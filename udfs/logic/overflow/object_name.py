"""The name of an object of overflow says what whoever lists the folder must know, so that nobody need read objects.

Names sort by the time at which objects were made, so a listing begins with the oldest.
"""

import re
from enum import StrEnum
from typing import NamedTuple

from settings.durations import MINUTE_MS

_FORM = re.compile(r"(\d{13})-(.+)-(\d{6,})-(events|diverted)-(\d+)-(\d+)-(\d+)\.avro")


class ObjectNameError(ValueError):
    """The name is not that of an object of overflow."""


class Destination(StrEnum):
    """Where the events of an object go: to the events topic, or to that of diverted keys, where nothing counts them."""

    EVENTS = "events"
    DIVERTED = "diverted"


class ObjectName(NamedTuple):
    """What a name says of an object.

    It was made by a process at `made_ms`, as its `sequence`-th. It holds `events` events, which were viewed in the
    minutes (since 1970) from `first_minute` to `last_minute`.
    """

    made_ms: int
    producer_id: str
    sequence: int
    destination: Destination
    first_minute: int
    last_minute: int
    events: int

    @property
    def text(self) -> str:
        """The name, without a folder."""
        return (
            f"{self.made_ms:013d}-{self.producer_id}-{self.sequence:06d}-{self.destination}-{self.first_minute}-"
            f"{self.last_minute}-{self.events}.avro"
        )

    @property
    def counts(self) -> bool:
        """Whether its events are to be counted."""
        return self.destination is Destination.EVENTS and self.events > 0

    @property
    def first_viewed_ms(self) -> int:
        """No event of it was viewed before."""
        return self.first_minute * MINUTE_MS

    @property
    def viewed_until_ms(self) -> int:
        """All events of it were viewed before."""
        return (self.last_minute + 1) * MINUTE_MS


def object_name(text: str) -> ObjectName:
    """The name in a text. Raises ObjectNameError."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ObjectNameError(f"{text!r:.200} is no name of an object of overflow: move it out of the folder")
    made, producer_id, sequence, destination, first, last, events = found.groups()
    return ObjectName(
        int(made), producer_id, int(sequence), Destination(destination), int(first), int(last), int(events)
    )
