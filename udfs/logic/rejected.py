"""Whole records that nobody could take, as values of the dead-letter topic (schemas/avro, RejectedEvents)."""

from schemas import registry


def rejected_record(topic: str, partition: int, offset: int, time_ms: int, reason: str, payload: bytes) -> bytes:
    """The value for a record at this place; its index is -1, as of no event in it."""
    return registry.encode(
        "RejectedEvents",
        {
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "batch_id": None,
            "append_at": time_ms,
            "events": [{"index": -1, "reason": reason, "payload": payload}],
        },
    )
