"""What was not counted, as values of the late and dead-letter topics (schemas/avro, RejectedEvents): letters.

A letter is cut by bytes, so that no record, however full of bad events, makes one that its topic refuses. What is in it
is known by topic, partition, offset and index; a letter by the first three and the range of indexes that it holds.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from schemas import registry
from schemas.topics import DEAD_LETTER_BYTES_MAX
from udfs.logic.stream.dedup import Rejected

# Of a letter's value. What a client adds to a value before it goes by the topic's limit is less than what is left.
LETTER_BYTES_MAX = DEAD_LETTER_BYTES_MAX - (1 << 12)
# Texts of clients may be quoted in a reason.
REASON_BYTES_MAX = 1 << 10
# Before the events: prefix, names, numbers. A topic's name has 249 bytes at most.
_HEAD_BYTES_MAX = 1 << 10
_EVENTS_BYTES_MAX = LETTER_BYTES_MAX - _HEAD_BYTES_MAX
# Of one event's or record's bytes. Only what no limit of a record has bound is longer: a broker's limits are of
# compressed bytes.
PAYLOAD_BYTES_MAX = _EVENTS_BYTES_MAX - REASON_BYTES_MAX - 16

# So the reasons of those begin.
_CUT = "first "


def is_cut(reason: str) -> bool:
    """Whether the bytes that stand with this reason are only the first ones."""
    return reason.startswith(_CUT)


def letters(
    topic: str, partition: int, offset: int, append_ms: int, batch_id: bytes | None, rejected: Sequence[Rejected]
) -> Iterator[bytes]:
    """The values for events of the record at this place, in their order: as few as hold them all.

    A payload longer than PAYLOAD_BYTES_MAX is cut, and the reason then says to what.
    """
    head = {"topic": topic, "partition": partition, "offset": offset, "batch_id": batch_id, "append_at": append_ms}
    for events in _in_letters(rejected):
        yield registry.encode("RejectedEvents", {**head, "events": events})


def rejected_record(topic: str, partition: int, offset: int, time_ms: int, reason: str, payload: bytes) -> bytes:
    """The value for a whole record at this place; its index is -1, as of no event in it. Cut as `letters` cuts."""
    (letter,) = letters(topic, partition, offset, time_ms, None, [Rejected(-1, reason, payload)])
    return letter


def _in_letters(rejected: Iterable[Rejected]) -> Iterator[list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    size = 0
    for one in rejected:
        reason, payload = _bounded(one.reason), one.payload
        if len(payload) > PAYLOAD_BYTES_MAX:
            # A letter that only repeats the start must not pass for the whole.
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
    """Of an Avro int or long that is not below -1."""
    return ((2 * max(number, 0)).bit_length() + 6) // 7 or 1
