"""From HTTP through Kafka and the count job into Cassandra and back over HTTP, on the real parts."""

import json
import os
import struct
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import mmh3
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]
from kafka import KafkaConsumer, KafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from connectors.cassandra import connect
from schemas import registry
from settings import CassandraSettings, Settings
from tests.support.chromium import chromium
from tests.support.jobs import await_no_job, cancel_all
from tests.support.waiting import PATIENCE_S, eventually
from tools.stack import FlinkCommandError, Stack
from tools.stack.layout import HOME_VARIABLE
from tools.stack.machine.ports import HOST

SETTINGS = Settings()
SALTS = SETTINGS.counting.salts
FATES = ("received", "counted", "duplicate", "late", "invalid", "blocked", "dead_lettered")


@pytest.fixture(scope="module")
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """The shared stack, whose topics and tables of the product's own names are used here alone."""
    await_no_job(shared_stack)
    shared_stack.start_part("ingest")
    shared_stack.flink_run(["-py", "jobs/view_counts.py"])
    yield shared_stack
    cancel_all(shared_stack)
    shared_stack.stop_part("ingest")


@pytest.fixture(scope="module")
def session(stack: Stack) -> Iterator[Any]:
    opened = connect(CassandraSettings(hosts=HOST, port=stack.ports["cassandra"]))
    yield opened
    opened.cluster.shutdown()


@pytest.fixture(scope="module")
def ingest(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.endpoints["ingest"], timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def query(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.endpoints["query"], timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def producer(stack: Stack) -> Iterator[KafkaProducer]:
    made = KafkaProducer(bootstrap_servers=stack.endpoints["kafka"], acks="all", max_request_size=4 << 20)
    yield made
    made.close()


def view(video_id: str, at: datetime, **more: Any) -> dict[str, Any]:
    return {"event_id": str(uuid.uuid4()), "video_id": video_id, "viewed_at": at.isoformat(), **more}


def send(ingest: httpx2.Client, events: list[dict[str, Any]]) -> None:
    answer = ingest.post("/v1/events", json={"events": events})
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == len(events)


def acknowledged(stack: Stack) -> int:
    """How many events this process of ingest has written."""
    return sum(int(minute["events"]) for minute in tally(stack))


def tally(stack: Stack) -> list[dict[str, Any]]:
    """What ingest says that it has written, by minute of arrival."""
    minutes: list[dict[str, Any]] = httpx2.get(f"{stack.endpoints['ingest_private']}/v1/tally").json()["minutes"]
    return minutes


def views(query: httpx2.Client, video_id: str, kind: str = "view") -> int:
    return int(query.get(f"/v1/videos/{video_id}/views", params={"kind": kind}).json()["views"])


def fates(session: Any) -> Counter[str]:
    """The ledger's sums over every minute and salt, records included."""
    total: Counter[str] = Counter()
    for row in session.execute("SELECT * FROM ledger"):
        for name in (*FATES, "records", "unreadable_records"):
            total[name] += getattr(row, name)
    return total


def rejected(stack: Stack, topic: str) -> dict[tuple[int, int, int], tuple[str, bytes]]:
    """(reason, payload) by (partition, offset, index), repeats dropped."""
    consumer = KafkaConsumer(
        bootstrap_servers=stack.endpoints["kafka"], auto_offset_reset="earliest", fetch_max_bytes=16 << 20,
        max_partition_fetch_bytes=16 << 20,
    )  # fmt: skip
    partitions = consumer.partitions_for_topic(topic)
    from kafka import TopicPartition

    assigned = [TopicPartition(topic, number) for number in partitions]
    consumer.assign(assigned)
    ends = consumer.end_offsets(assigned)
    found = {}
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        for records in consumer.poll(timeout_ms=500).values():
            for record in records:
                _, value = registry.decode(record.value)
                for event in value["events"]:
                    place = value["partition"], value["offset"], event["index"]
                    found[place] = event["reason"], event["payload"]
    consumer.close()
    return found


def test_three_more_views_make_ten(ingest: httpx2.Client, query: httpx2.Client) -> None:
    # All in one hour of the near past, wherever in the hour the test happens to run.
    now = datetime.now(UTC)
    at = now - timedelta(minutes=2)
    hour = at.replace(minute=0, second=0, microsecond=0)
    span = {"granularity": "hour", "from": hour.isoformat(), "to": (hour + timedelta(hours=1)).isoformat()}

    def count() -> tuple[int, int]:
        points = query.get("/v1/videos/A/series", params=span).json()["points"]
        assert [point["start"] for point in points] == [hour.strftime("%Y-%m-%dT%H:%M:%SZ")]
        return views(query, "A"), points[0]["views"]

    assert count() == (0, 0)
    send(ingest, [view("A", at, viewer_id=f"viewer-{n}") for n in range(7)])
    assert eventually(lambda: count() == (7, 7)), count()
    for viewer in ("ann", "bob", "cas"):
        send(ingest, [view("A", at, viewer_id=viewer)])
    assert eventually(lambda: count() == (10, 10)), count()


def test_any_kind_is_counted_and_ranked(ingest: httpx2.Client, query: httpx2.Client) -> None:
    # A kind of this test's own, with slashes and signs in the names: nothing knows the kinds beforehand.
    kind = "applause+1"
    now = datetime.now(UTC)
    sent = {"top/1": 5, "top 2": 3, "top-3": 1}
    for video_id, number in sent.items():
        send(ingest, [view(video_id, now, kind=kind) for _ in range(number)])
    send(ingest, [view("top-3", now) for _ in range(9)])

    def ranked(span: str) -> list[tuple[str, int]]:
        answer = query.get("/v1/top", params={"kind": kind, "span": span}).json()
        return [(video["video_id"], video["views"]) for video in answer["videos"]]

    def is_ranked(span: str) -> bool:
        return ranked(span) == list(sent.items())

    for span in ("hour", "trending", "minute"):
        assert eventually(partial(is_ranked, span)), (span, ranked(span))
    assert {video_id: views(query, video_id, kind) for video_id in sent} == sent
    assert views(query, "top-3") == 9
    points = query.get("/v1/videos/top/1/series", params={"kind": kind}).json()["points"]
    assert sum(point["views"] for point in points) == 5


def test_every_event_has_one_fate(stack: Stack, ingest: httpx2.Client, query: httpx2.Client, session: Any) -> None:
    now = datetime.now(UTC)
    # A count can be visible before the ledger has it.
    assert eventually(lambda: fates(session)["received"] == acknowledged(stack))
    before = fates(session)
    once = [view("B", now), view("B", now - timedelta(minutes=5)), view("B", now, kind="like")]
    late = view("B", now - timedelta(hours=1))
    future = view("B", now + timedelta(minutes=5))
    send(ingest, [*once, once[0], late, future])
    send(ingest, [*once, {**once[1], "viewed_at": now.isoformat()}])
    expected = {"received": 10, "counted": 3, "duplicate": 5, "late": 1, "invalid": 1}
    assert eventually(lambda: fates(session)["received"] - before["received"] == 10), fates(session)
    assert eventually(lambda: (views(query, "B"), views(query, "B", "like")) == (2, 1))
    after = fates(session)
    assert {name: after[name] - before[name] for name in expected} == expected
    identity = uuid.UUID(late["event_id"]).bytes
    assert [
        reason for reason, payload in rejected(stack, SETTINGS.kafka.late_topic).values() if payload[:16] == identity
    ] == ["late"]
    identity = uuid.UUID(future["event_id"]).bytes
    assert [
        reason
        for reason, payload in rejected(stack, SETTINGS.kafka.dead_letter_topic).values()
        if payload[:16] == identity
    ] == ["viewed_at_in_the_future"]


def test_the_ledger_is_what_ingest_says_it_wrote_and_both_are_metrics(
    stack: Stack, ingest: httpx2.Client, query: httpx2.Client
) -> None:
    """Until here only ingest has written. Minute by minute, of arrival at the broker."""

    def received() -> dict[str, int]:
        minutes = query.get("/v1/ledger").json()["minutes"]
        return {minute["start"]: minute["received"] for minute in minutes if minute["received"]}

    def written() -> dict[str, int]:
        return {minute["start"]: minute["events"] for minute in tally(stack) if minute["events"]}

    send(ingest, [view("tallied", datetime.now(UTC)) for _ in range(25)])
    refused = ingest.post("/v1/events", json={"events": [view("tallied", datetime.now(UTC)), {"video_id": 7}]})
    assert (refused.status_code, len(refused.json()["rejected"])) == (202, 1)
    assert eventually(lambda: received() == written()), (received(), written())
    own = metrics(stack, "ingest")
    assert own["view_counts_ingest_events_total", (("outcome", "acknowledged"),)] == sum(written().values()) >= 26
    assert own["view_counts_ingest_events_total", (("outcome", "rejected"),)] == 1
    assert own["view_counts_ingest_answers_total", (("status", "202"),)] > 1
    assert metrics(stack, "query")["view_counts_ledger_balanced", ()] == 1


def metrics(stack: Stack, service: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """By name and labels."""
    text = httpx2.get(f"{stack.endpoints[f'{service}_private']}/metrics").text
    families = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_job_that_expects_other_partitions_is_refused(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take every salt for a foreign one."""
    monkeypatch.setenv("VIEW_COUNTS_KAFKA_PARTITIONS", "8")
    with pytest.raises(
        FlinkCommandError, match=r"refused: VIEW_COUNTS_KAFKA_PARTITIONS=8, and 4 is declared for view-events"
    ):
        stack.flink_run(["-py", "jobs/view_counts.py"])


# --- hostile input, past ingest


def salted(salt: int) -> bytes:
    """An event id of this salt."""
    while True:
        identity = uuid.uuid4().bytes
        if mmh3.hash(identity, 0, signed=False) % SALTS == salt:
            return identity


def event(salt: int, video_id: str = "H", **more: Any) -> dict[str, Any]:
    return {"event_id": salted(salt), "video_id": video_id, "viewed_at": time.time_ns() // 1_000_000, **more}


def batch(salt: int, events: list[dict[str, Any]], salts: int = SALTS) -> bytes:
    value = {
        "batch_id": uuid.uuid4().bytes, "producer_id": "test", "salt": salt, "salts": salts,
        "produced_at": time.time_ns() // 1_000_000, "events": events,
    }  # fmt: skip
    return registry.encode("ViewBatch", value)


def zigzag(value: int) -> bytes:
    value = value << 1 ^ value >> 63
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def with_count(record: bytes, events: int, claimed: int) -> bytes:
    """The record with another count in front of its only block of events."""
    empty = batch(3, [])
    at = len(empty) - 1
    assert record[at : at + 1] == zigzag(events)
    return record[:at] + zigzag(claimed) + record[at + 1 :]


def hostile() -> dict[str, tuple[bytes, int | None]]:
    """Records for salt 3 by name: (value, None when the record goes whole, else how many events are bad)."""
    good = batch(3, [event(3), event(3)])
    cut = event(3, "cut-here")
    no_utf8 = batch(3, [event(3), event(3, "bad-utf8")]).replace(b"bad-utf8", b"bad\xff\xfe\xfd\xfc8")
    return {
        "a count of 10^12": (with_count(good, 2, 10**12), None),
        "a length beyond the end": (
            batch(3, [cut]).replace(zigzag(8) + b"cut-here", zigzag(1 << 20) + b"cut-here"),
            None,
        ),
        "a count too low": (with_count(good, 2, 1), None),
        "bytes after the end": (good + b"more", None),
        "cut short": (good[:-5], None),
        "empty": (b"", None),
        "no Avro at all": (b"hello", None),
        "a foreign schema": (b"\xc3\x01" + b"\x07" * 8 + good[10:], None),
        "JSON": (json.dumps({"events": []}).encode(), None),
        "another number of salts": (batch(3, [event(3)], salts=SALTS * 2), None),
        "another salt in the header": (batch(4, [event(4)]), None),
        "bad UTF-8": (no_utf8, 1),
        "a video_id of 100 KB": (batch(3, [event(3), event(3, "v" * 100_000)]), 1),
        "a video_id of nothing": (batch(3, [event(3), event(3, "")]), 1),
        "an event of another salt": (batch(3, [event(3), event(5)]), 1),
        "the year 2099": (batch(3, [event(3), event(3, viewed_at=4_080_000_000_000)]), 1),
    }


def test_hostile_records_are_dead_lettered_and_the_job_goes_on(
    stack: Stack, producer: KafkaProducer, query: httpx2.Client, session: Any
) -> None:
    (job,) = stack.unfinished_jobs()
    before = fates(session)
    sent: dict[tuple[int, int], tuple[str, bytes, int | None]] = {}
    partition = 3 % SETTINGS.kafka.partitions
    for name, (value, bad) in hostile().items():
        place = producer.send(SETTINGS.kafka.events_topic, value, struct.pack(">I", 3), partition=partition).get(30)
        sent[place.partition, place.offset] = name, value, bad
    whole = batch(3, [event(3)])
    for name, key in (("no key", None), ("a key of five bytes", b"12345"), ("a salt beyond all", b"\xff" * 4)):
        place = producer.send(SETTINGS.kafka.events_topic, whole, key, partition=partition).get(30)
        sent[place.partition, place.offset] = name, whole, None
    elsewhere = (partition + 1) % SETTINGS.kafka.partitions
    for name, key in (("a salt of another partition", struct.pack(">I", 3)), ("no key, another partition", None)):
        place = producer.send(SETTINGS.kafka.events_topic, whole, key, partition=elsewhere).get(30)
        sent[place.partition, place.offset] = name, whole, None
    place = producer.send(SETTINGS.kafka.events_topic, None, struct.pack(">I", 3), partition=partition).get(30)
    sent[place.partition, place.offset] = "a tombstone", b"", None
    last = batch(3, [event(3, "H-last")])
    producer.send(SETTINGS.kafka.events_topic, last, struct.pack(">I", 3), partition=partition).get(30)

    assert eventually(lambda: views(query, "H-last") == 1)
    partly = [name for name, _, bad in sent.values() if bad is not None]
    whole_names = [name for name, _, bad in sent.values() if bad is None]
    assert eventually(lambda: views(query, "H") == len(partly)), views(query, "H")
    expected = {
        "unreadable_records": len(whole_names),
        "received": 2 * len(partly) + 1,
        "counted": len(partly) + 1,
        "dead_lettered": len(partly) - 1,
        "invalid": 1,
    }

    def seen() -> dict[str, int]:
        after = fates(session)
        return {name: after[name] - before[name] for name in expected}

    assert eventually(lambda: seen() == expected), seen()
    # By partition: a tally over several would depend on the order in which a run meets them.
    foreign: Counter[int] = Counter()
    for row in session.execute("SELECT salt, records FROM ledger"):
        foreign.update({row.salt: row.records} if row.salt < 0 else {})
    assert foreign == {-1 - partition: 3, -1 - elsewhere: 2}

    def letters() -> dict[tuple[int, int], list[tuple[int, str, bytes]]]:
        found: dict[tuple[int, int], list[tuple[int, str, bytes]]] = {}
        for (at, offset, index), (reason, payload) in rejected(stack, SETTINGS.kafka.dead_letter_topic).items():
            found.setdefault((at, offset), []).append((index, reason, payload))
        return found

    assert eventually(lambda: sent.keys() <= letters().keys())
    found = letters()
    for place, (name, value, bad) in sent.items():
        reasons = found[place]
        if bad is None:
            assert [(index, payload) for index, _, payload in reasons] == [(-1, value)], name
        else:
            assert [index for index, _, _ in reasons] == [1], name
        assert all(reason for _, reason, _ in reasons), name
    assert stack.jobs()[job] == "RUNNING"
    assert stack.flink_rest(f"/jobs/{job}/exceptions")["exceptionHistory"]["entries"] == []


FIX = """
def mend(event, letter):
    if isinstance(event, bytes) or event["video_id"] == "B":
        return None
    if event["viewed_at"] > 4_000_000_000_000:
        event["viewed_at"] = {now_ms}
    event["video_id"] = "H"
    return event
"""


def test_dead_letters_are_mended_and_sent_again_and_count_once(
    stack: Stack, query: httpx2.Client, session: Any, tmp_path: Path
) -> None:
    """Those of the hostile records, which it comes after."""

    def replay(command: str, *options: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "tools.cli", "replay", command, "--topic", "dead-letter", "--json", *options],
            env={**os.environ, HOME_VARIABLE: str(stack.layout.home),},
            cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]

    (tmp_path / "my_fixes.py").write_text(FIX.format(now_ms=time.time_ns() // 1_000_000))
    listed: Counter[str] = Counter()
    for line in replay("list"):
        listed[line["reason"]] += line["letters"]
    assert listed >= Counter(video_id_not_utf8=1, video_id_empty=1, wrong_salt=1, viewed_at_in_the_future=2)
    before, views_before = fates(session), views(query, "H")
    # As they are: an event under a wrong salt, a batch of another number of salts, one with another salt in its key,
    # and one batch that lay in five wrong places. Mended: bad UTF-8, a name too long, one too short, the year 2099.
    expected = {"as is": 4, "changed": 4, "still invalid": 0}

    def has_received(events: int) -> bool:
        return fates(session)["received"] - before["received"] == events

    for turn in (1, 2):
        *planned, done = replay("resubmit", "--fix", "my_fixes:mend", "--send")
        assert {name: done[name] for name in expected} == expected, planned
        assert done["sent_events"] == 8
        assert eventually(partial(has_received, 8 * turn))
        assert eventually(lambda: views(query, "H") == views_before + 8), views(query, "H")
    after = fates(session)
    gained = {"received": 16, "counted": 8, "duplicate": 8, "dead_lettered": 0, "invalid": 0, "late": 0}
    assert {name: after[name] - before[name] for name in gained} == gained
    assert views(query, "H") == views_before + 8


def test_the_page_to_try_counts_what_is_played_there(stack: Stack, query: httpx2.Client) -> None:
    port = query.base_url.port
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"{stack.endpoints['ingest']}/try?query={port}")
        page.evaluate("document.querySelector('video').play()")
        for kind in ("view", "engaged"):
            page.wait_for_function(f"document.querySelector('#{kind}').value == 1", timeout=PATIENCE_S * 1000)
        # It comes back, and plays again.
        page.reload()
        page.evaluate("document.querySelector('video').play()")
        page.wait_for_function("document.querySelector('#view').value == 2", timeout=PATIENCE_S * 1000)
        assert page.evaluate("document.querySelector('#trouble').textContent") == ""
    assert (views(query, "try-it"), views(query, "try-it", "engaged")) == (2, 1)


def test_partitions_that_are_added_to_a_living_topic_lose_nothing(
    stack: Stack, ingest: httpx2.Client, query: httpx2.Client, session: Any
) -> None:
    """A job that runs, ingest processes before and after: all go on with the partitions that are declared."""
    dead_before = fates(session)["dead_lettered"]
    admin = AdminClient({"bootstrap.servers": stack.endpoints["kafka"]})
    admin.create_partitions([NewPartitions("view-events", 8)])["view-events"].result(30)
    send(ingest, [view("added", datetime.now(UTC)) for _ in range(40)])
    stack.stop_part("ingest")
    stack.start_part("ingest")
    stack.wait_ready("ingest", timeout_s=60)
    send(ingest, [view("added", datetime.now(UTC)) for _ in range(40)])
    assert eventually(lambda: views(query, "added") == 80), views(query, "added")
    assert fates(session)["dead_lettered"] == dead_before


def test_who_listens_sees_a_view_that_ingest_has_taken(ingest: httpx2.Client, query: httpx2.Client) -> None:
    with query.stream("GET", "/v1/videos/listened/live", timeout=PATIENCE_S) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        data = (json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: "))
        first = next(data)
        assert (first["views"], first["every_s"]) == (0, 1)
        send(ingest, [view("listened", datetime.now(UTC))])
        assert next(event for event in data if event.get("views"))["views"] == 1
