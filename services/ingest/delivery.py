"""Brings the events of a body to Kafka, or to overflow if Kafka does not take them. Knows no HTTP."""

from collections.abc import Sequence
from typing import NamedTuple

from services.ingest.diverting import Diverter
from services.ingest.overflow import Overflow
from services.ingest.packing import Packed
from services.ingest.writer import EventWriter, Share, failures, settled
from udfs.logic.overflow.object_name import Destination


class Delivered(NamedTuple):
    """What became of the events of a body: (index, reason) of each that is nowhere, and the shares that Kafka got.

    `is_stored` says whether some are in overflow.
    """

    failed: list[tuple[int, str]]
    shares: Sequence[Share] = ()
    is_stored: bool = False


class Delivery:
    """Writes events. Without overflow, what Kafka does not acknowledge has failed."""

    def __init__(self, writer: EventWriter, diverter: Diverter, overflow: Overflow | None, *, wait_ms: int) -> None:
        self._writer = writer
        self._diverter = diverter
        self._overflow = overflow
        self._wait_s = wait_ms / 1000

    @property
    def trouble(self) -> str | None:
        """Why no events can be taken now; None if they can."""
        trouble = self._writer.trouble
        return None if trouble is not None and self._takes_all() else trouble

    @property
    def detour(self) -> str | None:
        """Why all events go to overflow now; None if they do not."""
        trouble = self._writer.trouble
        return trouble if trouble is not None and self._takes_all() else None

    @property
    def is_past_kafka(self) -> bool:
        """Whether what waits for Kafka says nothing about whether further events can be taken."""
        overflow, writer = self._overflow, self._writer
        return overflow is not None and overflow.trouble is None and (writer.trouble is not None or writer.is_slow)

    def _takes_all(self) -> bool:
        overflow = self._overflow
        return overflow is not None and overflow.trouble is None and not self._writer.is_misconfigured

    async def write(self, packed: Packed, *, is_diverted: bool = False, is_bounded: bool = False) -> Delivered:
        """Return when all events are durable, or have failed.

        If `is_bounded`, a repeat of the body has other times. Such events must be counted soon, so they never wait in
        overflow.
        """
        overflow = None if is_bounded else self._overflow
        trouble = self._writer.trouble
        if trouble is not None:
            if overflow is None or self._writer.is_misconfigured:
                return Delivered(sorted((index, trouble) for places in packed.indexes for index in places))
            return await _stored(overflow, packed, None, is_diverted=is_diverted)
        shares: list[Share] = []
        if is_diverted:
            failed = await self._diverter.write(packed)
        else:
            shares = self._writer.write(packed, has_overflow=overflow is not None and overflow.trouble is None)
            # With the store away, too, there is nothing better than to wait.
            is_bounded_wait = overflow is not None and overflow.trouble is None
            await settled(shares, self._wait_s if is_bounded_wait else None)
            failed = failures(shares)
        if not failed or overflow is None:
            return Delivered(failed, shares)
        stored = await _stored(overflow, packed, failed, is_diverted=is_diverted)
        return stored._replace(shares=shares)


async def _stored(
    overflow: Overflow, packed: Packed, failed: list[tuple[int, str]] | None, *, is_diverted: bool
) -> Delivered:
    """Store the events that have failed, or all."""
    destination = Destination.DIVERTED if is_diverted else Destination.EVENTS
    indexes = None if failed is None else [index for index, _ in failed]
    reason = await overflow.store(packed, indexes, destination)
    if reason is None:
        return Delivered([], is_stored=True)
    if failed is None:
        return Delivered(sorted((index, reason) for places in packed.indexes for index in places))
    return Delivered([(index, f"{why}; {reason}") for index, why in failed])
