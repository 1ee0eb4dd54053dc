"""The account of an object that was drained, and when the object may be deleted. Pure; times are ms since 1970.

The account is a small file beside the objects. It is written when Kafka has acknowledged all events of the object, and
is kept longer than the object. So no drainer drains the object again, and nobody needs Redis to know that.
"""

import msgspec

from udfs.logic.overflow.object_name import ObjectName


class Drained(msgspec.Struct, frozen=True):
    """What became of the events of an object.

    `events` were written to Kafka, the last of them with the broker's time `stamp_ms`; `too_old` and `refused` are in
    the dead letters.
    """

    events: int
    too_old: int
    refused: int
    stamp_ms: int
    drained_at_ms: int

    def encode(self) -> bytes:
        """Return the account as the content of its file."""
        return msgspec.json.encode(self)


def drained(content: bytes) -> Drained:
    """Return the account in a file. Raises msgspec.DecodeError or its subclass ValidationError if it is none."""
    return msgspec.json.decode(content, type=Drained)


def may_delete(name: ObjectName, account: Drained, frontier_ms: int | None, skew_ms: int) -> bool:
    """Return whether the object may be deleted, when the stream's frontier is at least `frontier_ms`, or unknown.

    Until then answers must know of it: events that were acknowledged before the frontier may still be on their way.
    The append time of a record may be that of an earlier one whose broker's clock was ahead, by up to `skew_ms`.
    """
    if not name.counts or account.events == 0:
        return True
    return frontier_ms is not None and frontier_ms > account.stamp_ms + skew_ms
