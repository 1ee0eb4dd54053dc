"""Encodes late events and dead letters as values of their topics (schemas/avro, RejectedEvents), called letters.

The events of one record are divided into several letters by their bytes, so that no letter is too large for its topic.
Topic, partition, offset and index identify an event in a letter; the first three and the range of its indexes identify
a letter.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from schemas import registry
from schemas.topics import DEAD_LETTER_BYTES_MAX
from udfs.logic.stream.dedup import Rejected

# The limit of a letter's value. A client adds less than the difference to a value before it is held against the topic's
# limit.
LETTER_BYTES_MAX = DEAD_LETTER_BYTES_MAX - (1 << 12)
# A reason has a limit because it may quote texts of clients.
REASON_BYTES_MAX = 1 << 10
# What stands before the events: prefix, names, numbers. A topic's name has 249 bytes at most.
_HEAD_BYTES_MAX = 1 << 10
_EVENTS_BYTES_MAX = LETTER_BYTES_MAX - _HEAD_BYTES_MAX
# The limit of the bytes of one event or record. Records can be longer, because a broker's limits are for compressed
# bytes.
PAYLOAD_BYTES_MAX = _EVENTS_BYTES_MAX - REASON_BYTES_MAX - 16

# The reason begins with this word if the payload was cut.
_CUT = "first "


def is_cut(reason: str) -> bool:
    """Return whether the payload with this reason was cut to its first bytes."""
    return reason.startswith(_CUT)


def letters(
    topic: str, partition: int, offset: int, append_ms: int, batch_id: bytes | None, rejected: Sequence[Rejected]
) -> Iterator[bytes]:
    """Yield the letters for rejected events of the record at this place, in order, and as few letters as possible.

    A payload longer than PAYLOAD_BYTES_MAX is cut, and its reason then says to how many bytes.
    """
    head = {"topic": topic, "partition": partition, "offset": offset, "batch_id": batch_id, "append_at": append_ms}
    for events in _in_letters(rejected):
        yield registry.encode("RejectedEvents", {**head, "events": events})


def rejected_record(topic: str, partition: int, offset: int, time_ms: int, reason: str, payload: bytes) -> bytes:
    """Return the letter for a whole record at this place, with the index -1. It is cut as `letters` cuts."""
    (letter,) = letters(topic, partition, offset, time_ms, None, [Rejected(-1, reason, payload)])
    return letter


def _in_letters(rejected: Iterable[Rejected]) -> Iterator[list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    size = 0
    for one in rejected:
        reason, payload = _bounded(one.reason), one.payload
        if len(payload) > PAYLOAD_BYTES_MAX:
            # The reason must show that this is not the whole payload.
            reason = _bounded(f"{_CUT}{PAYLOAD_BYTES_MAX} of {len(payload)} bytes: {reason}")
            payload = payload[:PAYLOAD_BYTES_MAX]
        texts = len(reason.encode()), len(payload)
        more = sum(texts) + sum(map(_number_bytes, (one.index, *texts)))
        if events and size + more > _EVENTS_BYTES_MAX:
            yield events
            events, size = [], 0
        events.append({"index": one.index, "reason": reason, "payload": payload})
        size += more
    if events:
        yield events


def _bounded(reason: str) -> str:
    octets = reason.encode(errors="replace")
    return reason if len(octets) <= REASON_BYTES_MAX else octets[:REASON_BYTES_MAX].decode(errors="ignore")


def _number_bytes(number: int) -> int:
    """Return the number of bytes of an Avro int or long that is not below -1."""
    return ((2 * max(number, 0)).bit_length() + 6) // 7 or 1
