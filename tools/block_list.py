"""Changes the block list. A change takes effect a while after it is written, so that every replay judges alike."""

import time
from collections.abc import Iterable, Sequence

from connectors.compacted_topic import read_to_end, write
from schemas import registry
from settings import KafkaSettings
from udfs.logic.stream.block_list import FOR_GOOD_MS, read_blocked, read_periods
from udfs.logic.stream.block_table import Period
from udfs.logic.wire.keyed_records import Refusal

READ_TIMEOUT_S = 30.0
# A change must be written at least NOTICE_MS before it takes effect. By default it takes effect after NOTICE_GIVEN_MS,
# which leaves time for the write.
NOTICE_MS = 60_000
NOTICE_GIVEN_MS = 90_000


class TooEarlyError(ValueError):
    """A change would take effect so soon that the job might not know it in time."""


class RefusedError(ValueError):
    """The job would refuse the change. The text says why."""


def periods(kafka: KafkaSettings) -> dict[str, list[Period]]:
    """The periods of each viewer in the topic, by viewer_id. Raises confluent_kafka.KafkaException."""
    found: dict[str, list[Period]] = {}
    for key, value, *_ in read_to_end(kafka, kafka.blocked_topic, READ_TIMEOUT_S):
        record = read_blocked(key, value)
        if isinstance(record, Refusal):
            continue
        if record.rest is None:
            found.pop(record.key, None)
        else:
            found[record.key] = read_periods(record.rest)
    return found


def block(kafka: KafkaSettings, viewers: Iterable[str], from_ms: int | None = None, until_ms: int | None = None) -> int:
    """Block viewers from `from_ms`, by default as soon as possible, until `until_ms`, by default for good.

    Returns when the change takes effect, in ms since 1970. Raises TooEarlyError, RefusedError and
    confluent_kafka.KafkaException.
    """
    from_ms = _effective_ms(from_ms)
    until_ms = FOR_GOOD_MS if until_ms is None else until_ms
    if until_ms <= from_ms:
        raise TooEarlyError(f"until={until_ms} is not after from={from_ms}; choose a later end")
    known = periods(kafka)
    _write(kafka, {viewer: [*known.get(viewer, []), Period(from_ms, until_ms)] for viewer in viewers}, from_ms)
    return from_ms


def unblock(kafka: KafkaSettings, viewers: Iterable[str], from_ms: int | None = None) -> int:
    """End the blocking of viewers at `from_ms`, by default as soon as possible. Returns and raises as `block`."""
    at_ms = _effective_ms(from_ms)
    known = periods(kafka)
    _write(kafka, {viewer: ended(known.get(viewer, []), at_ms) for viewer in viewers}, at_ms)
    return at_ms


def stand_in(kafka: KafkaSettings, viewer: str, of: Sequence[Period]) -> None:
    """Block a viewer in these periods, which may be past.

    No event that is not judged yet may name this viewer, or a replay would judge it differently.
    """
    write(kafka, kafka.blocked_topic, [(viewer.encode(), _value(viewer, of))])


def forget(kafka: KafkaSettings, viewer: str) -> None:
    """Remove a viewer from the list. Their periods must have ended before the oldest events that Kafka still has."""
    write(kafka, kafka.blocked_topic, [(viewer.encode(), None)])


def ended(known: Sequence[Period], at_ms: int) -> list[Period]:
    """These periods, cut off at a time. Past periods stay, because replays need them."""
    return [Period(one.from_ms, min(one.until_ms, at_ms)) for one in known if one.from_ms < at_ms]


def _effective_ms(wanted_ms: int | None) -> int:
    now_ms = time.time_ns() // 1_000_000
    if wanted_ms is None:
        return now_ms + NOTICE_GIVEN_MS
    if wanted_ms < now_ms + NOTICE_MS:
        raise TooEarlyError(
            f"from={wanted_ms} is less than a minute away: the job might judge views before it knows the change; "
            f"choose {now_ms + NOTICE_GIVEN_MS} or later"
        )
    return wanted_ms


def _write(kafka: KafkaSettings, changed: dict[str, list[Period]], effective_ms: int) -> None:
    records = [(viewer.encode(), _value(viewer, mine)) for viewer, mine in changed.items()]
    for key, value in records:
        if isinstance(refusal := read_blocked(key, value), Refusal):
            raise RefusedError(f"viewer {key.decode()!r:.80}: {refusal.value}; nothing was written")
    newest_ms = write(kafka, kafka.blocked_topic, records).newest_ms
    if newest_ms > effective_ms - NOTICE_MS:
        raise TooEarlyError(
            f"the change was written at {newest_ms}, less than a minute before it takes effect at {effective_ms}: "
            "views of that minute may have been judged without it, and a replay would judge them with it"
        )


def _value(viewer: str, mine: Sequence[Period]) -> bytes:
    return registry.encode(
        "BlockedViewer",
        {
            "viewer_id": viewer,
            "periods": [
                {
                    "effective_from": one.from_ms,
                    "effective_until": None if one.until_ms == FOR_GOOD_MS else one.until_ms,
                }
                for one in mine
            ],
        },
    )
