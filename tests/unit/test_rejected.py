"""Letters: cut by bytes, however many events a record holds and however long they are; read as one record's again."""

import uuid

import pytest

from schemas import registry
from schemas.topics import DEAD_LETTER_BYTES_MAX, RECORD_BYTES_MAX
from settings import CountingSettings
from tests.support.records import salt_of
from tools.replay.letters import Choice, Origin, chosen, read_letters
from udfs.logic.stream.dedup import Rejected, SaltDedup
from udfs.logic.stream.rejected import LETTER_BYTES_MAX, PAYLOAD_BYTES_MAX, REASON_BYTES_MAX, letters, rejected_record

RULES = CountingSettings(salts=1, max_parallelism=2, shards=2)
NOW_MS = 1_767_225_600_000
HOUR_MS = 3_600_000
OWN = Origin("letters", 0, 0, -1)
# What Kafka's clients add to a value: the heads of a batch and of the record in it.
CLIENTS_BYTES = 61 + 64


def full_record(viewed_at: int) -> tuple[bytes, int]:
    """A ViewBatch as large as the topic takes, of short events, and how many of them there are."""
    # The shortest would be eight times as many, and take as long.
    event = {"video_id": "v" * 64, "viewed_at": viewed_at, "kind": "k", "device": "d" * 64, "country": "c" * 64}
    batch = {"batch_id": bytes(16), "producer_id": "", "salt": 0, "salts": 1, "produced_at": NOW_MS}
    one, two = (
        len(registry.encode("ViewBatch", {**batch, "events": [{**event, "event_id": bytes(16)}] * number}))
        for number in (1, 2)
    )
    number = (RECORD_BYTES_MAX - one - 1024) // (two - one)
    events = [{**event, "event_id": uuid.UUID(int=n + 1).bytes} for n in range(number)]
    return registry.encode("ViewBatch", {**batch, "events": events}), number


def of_record(value: bytes, name: str) -> tuple[list[bytes], list[Rejected]]:
    outcome = SaltDedup(0, RULES).judge(value, NOW_MS, 0)
    rejected = getattr(outcome, name)
    return list(letters("view-events", 3, 7, outcome.append_ms, outcome.batch_id, rejected)), rejected


@pytest.mark.slow
def test_a_full_record_of_late_or_invalid_events_is_several_letters_that_the_topic_takes() -> None:
    for viewed_at, name in ((NOW_MS - HOUR_MS, "late"), (NOW_MS + HOUR_MS, "dead")):
        value, number = full_record(viewed_at)
        assert RECORD_BYTES_MAX - 2048 < len(value) < RECORD_BYTES_MAX
        made, rejected = of_record(value, name)
        assert len(rejected) == number
        assert len(made) > 1
        assert max(map(len, made)) + CLIENTS_BYTES <= DEAD_LETTER_BYTES_MAX
        # As few as hold them.
        assert len(made[0]) > LETTER_BYTES_MAX - 2048
        read = [one for letter in made for one in read_letters("late", letter, OWN)]
        assert [(one.origin, one.reason, one.payload) for one in read] == [
            (Origin("view-events", 3, 7, one.index), one.reason, one.payload) for one in rejected
        ]


def test_repeats_are_dropped_however_they_were_cut() -> None:
    some = [Rejected(index, "late", bytes([index])) for index in range(4)]
    first = list(letters("t", 0, 1, NOW_MS, None, some))
    again = [letter for one in some for letter in letters("t", 0, 1, NOW_MS, None, [one])]
    assert (len(first), len(again)) == (1, 4)
    read = [one for letter in (*first, *again, *first) for one in read_letters("late", letter, OWN)]
    assert len(read) == 12
    assert [one.payload for one in chosen(read, Choice())] == [b"\0", b"\1", b"\2", b"\3"]


def test_of_nothing_there_is_no_letter() -> None:
    assert list(letters("t", 0, 0, 0, None, [])) == []


def test_a_record_that_is_longer_than_any_letter_is_cut_and_says_so() -> None:
    # Compressed it is small, so that a broker takes it.
    letter = rejected_record("t" * 249, 2**31 - 1, 2**62, 2**62, "x" * 10_000, bytes(3 * RECORD_BYTES_MAX))
    assert len(letter) + CLIENTS_BYTES <= DEAD_LETTER_BYTES_MAX
    (read,) = read_letters("dead-letter", letter, OWN)
    assert (read.origin.index, len(read.payload)) == (-1, PAYLOAD_BYTES_MAX)
    assert read.reason.startswith(f"first {PAYLOAD_BYTES_MAX} of {3 * RECORD_BYTES_MAX} bytes: xxx")
    assert len(read.reason) == REASON_BYTES_MAX


def test_a_record_as_large_as_the_topic_takes_is_kept_whole() -> None:
    (read,) = read_letters("dead-letter", rejected_record("t", 0, 0, 0, "truncated", bytes(RECORD_BYTES_MAX)), OWN)
    assert (read.reason, len(read.payload)) == ("truncated", RECORD_BYTES_MAX)


def test_one_event_longer_than_a_letter_leaves_the_others_whole() -> None:
    huge = {"event_id": (1).to_bytes(16, "big"), "video_id": "v", "viewed_at": NOW_MS - HOUR_MS, "kind": "k"}
    small = {**huge, "event_id": (2).to_bytes(16, "big")}
    assert salt_of(huge["event_id"], 1) == 0  # type: ignore[arg-type]
    batch = {"batch_id": bytes(16), "producer_id": "", "salt": 0, "salts": 1, "produced_at": NOW_MS}
    events = [small, {**huge, "device": "d" * (2 * RECORD_BYTES_MAX)}, small]
    made, rejected = of_record(registry.encode("ViewBatch", {**batch, "events": events}), "late")
    if not rejected:
        made, rejected = of_record(registry.encode("ViewBatch", {**batch, "events": events}), "dead")
    assert max(map(len, made)) + CLIENTS_BYTES <= DEAD_LETTER_BYTES_MAX
    read = [one for letter in made for one in read_letters("late", letter, OWN)]
    assert [one.origin.index for one in read] == [one.index for one in rejected]
    assert sum(one.reason.startswith("first ") for one in read) == 1
