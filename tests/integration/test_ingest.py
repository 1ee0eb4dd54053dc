"""Ingest against a real Kafka: what it acknowledged is in the topic, as kafka-python and fastavro read it."""

import concurrent.futures
import gzip
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import mmh3
import msgspec
import pytest
from backports import zstd
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]
from kafka import KafkaConsumer

from connectors.installation import check_topics
from connectors.kafka_admin import TopicMismatchError, alter_topics, create_topics
from connectors.key_file import change_keys
from schemas.access_keys import new_key
from schemas.registry import decode
from schemas.topics import topics
from settings import Settings
from tests.support.services import service
from tests.support.waiting import eventually
from tools.replay.commands import choose
from tools.replay.plan import COUNTS, Action, Planner
from tools.stack import Stack, StackOptions
from tools.stack.layout import repository

IN_FLIGHT_MAX = 1000
BODY_BYTES_MAX = 1 << 18
HEARTBEAT_MS = 300
LOG_APPEND_TIME = 1
BACK_S = 60.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    options = StackOptions(
        home=tmp_path_factory.mktemp("ingest"),
        ports="free",
        parts=("kafka", "ingest"),
        environment={
            "VIEW_COUNTS_INGEST_EVENTS_IN_FLIGHT_MAX": str(IN_FLIGHT_MAX),
            "VIEW_COUNTS_INGEST_BODY_BYTES_MAX": str(BODY_BYTES_MAX),
            "VIEW_COUNTS_INGEST_LINGER_MS": "200",
            "VIEW_COUNTS_INGEST_DELIVERY_TIMEOUT_MS": "2000",
            "VIEW_COUNTS_INGEST_HEARTBEAT_MS": str(HEARTBEAT_MS),
            "VIEW_COUNTS_INGEST_TOPICS_CHECK_S": "0.5",
        },
        graceful_stop=False,
    )
    with Stack(options) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.endpoints["ingest"], timeout=30) as http:
        yield http


def records(stack: Stack) -> list[Any]:
    """Every record of the events topic now."""
    consumer = KafkaConsumer(
        Settings().kafka.events_topic,
        bootstrap_servers=stack.endpoints["kafka"],
        auto_offset_reset="earliest",
        consumer_timeout_ms=10_000,
    )
    consumer.poll(timeout_ms=5000, max_records=1, update_offsets=False)
    ends = consumer.end_offsets(consumer.assignment())
    found = []
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        found += [record for chunk in consumer.poll(timeout_ms=500).values() for record in chunk]
    consumer.close()
    return found


def event_ids(stack: Stack) -> list[uuid.UUID]:
    return [uuid.UUID(bytes=e["event_id"]) for r in records(stack) for e in decode(r.value)[1]["events"]]


def some_events(count: int) -> list[dict[str, Any]]:
    now_ms = time.time_ns() // 1_000_000
    return [{"event_id": str(uuid.uuid4()), "video_id": "A", "viewed_at": now_ms} for _ in range(count)]


def ready(client: httpx2.Client) -> bool:
    return client.get("/readyz").status_code == 200


def test_what_is_acknowledged_lies_under_its_salt(stack: Stack, client: httpx2.Client) -> None:
    sent = some_events(500)
    answer = client.post("/v1/events", json={"events": [*sent, {"video_id": ""}]})
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 500
    assert [(r["index"], r["field"]) for r in answer.json()["rejected"]] == [(500, "video_id")]
    settings = Settings()
    found = []
    for record in records(stack):
        name, batch = decode(record.value)
        salt = batch["salt"]
        assert name == "ViewBatch"
        assert (record.key, record.partition) == (salt.to_bytes(4, "big"), salt % settings.kafka.partitions)
        assert record.timestamp_type == LOG_APPEND_TIME
        for event in batch["events"]:
            assert mmh3.hash(event["event_id"], 0, signed=False) % settings.counting.salts == salt
            found.append(str(uuid.UUID(bytes=event["event_id"])))
    wanted = {event["event_id"] for event in sent}
    assert sorted(one for one in found if one in wanted) == sorted(wanted)


def test_ndjson_and_made_ids(stack: Stack, client: httpx2.Client) -> None:
    body = '{"video_id":"B"}\n{"video_id":"C"}\n'
    answer = client.post("/v1/events", content=body, headers={"content-type": "application/x-ndjson"})
    assert answer.status_code == 202
    made = answer.json()["event_ids"]
    assert [one["index"] for one in made] == [0, 1]
    assert {uuid.UUID(one["event_id"]) for one in made} <= set(event_ids(stack))


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_a_packed_body(stack: Stack, client: httpx2.Client, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    sent = some_events(20)
    headers = {"content-type": "application/json", "content-encoding": encoding}
    answer = client.post("/v1/events", content=pack(json.dumps({"events": sent}).encode()), headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 20)
    assert {uuid.UUID(event["event_id"]) for event in sent} <= set(event_ids(stack))


def test_the_time_is_the_services(client: httpx2.Client) -> None:
    before = time.time_ns() // 1_000_000
    answer = client.get("/v1/time")
    assert before <= answer.json()["now"] <= time.time_ns() // 1_000_000
    assert answer.headers["cache-control"] == "no-store"


def test_idle_salts_get_heartbeats(stack: Stack, client: httpx2.Client) -> None:
    assert eventually(lambda: ready(client), BACK_S)
    time.sleep(4 * HEARTBEAT_MS / 1000)
    newest: dict[int, int] = {}
    for record in records(stack):
        newest[decode(record.value)[1]["salt"]] = record.timestamp
    assert set(newest) == set(range(Settings().counting.salts))
    assert max(newest.values()) - min(newest.values()) < 5 * HEARTBEAT_MS


@pytest.mark.parametrize(
    ("content_type", "content", "status"),
    [
        ("application/json", b"{", 400),
        ("application/json", b'{"events":[]}', 400),
        ("application/json", b'{"events":[{"video_id":""}]}', 400),
        ("application/x-ndjson", b"\n\n", 400),
        ("application/avro", b"Obj", 400),
        ("text/csv", b"x", 415),
        ("application/json", b" " * (BODY_BYTES_MAX + 1), 413),
        ("application/json", json.dumps({"events": [{"video_id": "A"}] * (IN_FLIGHT_MAX + 1)}).encode(), 413),
    ],
)
def test_refusals(client: httpx2.Client, content_type: str, content: bytes, status: int) -> None:
    answer = client.post("/v1/events", content=content, headers={"content-type": content_type})
    assert answer.status_code == status
    assert answer.json()["accepted"] == 0


def test_a_streamed_body_is_bounded_too(client: httpx2.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(BODY_BYTES_MAX // 1024 + 1):
            yield b" " * 1024

    headers = {"content-type": "application/json"}
    assert client.post("/v1/events", content=endless(), headers=headers).status_code == 413


def test_what_a_diverted_key_writes_lies_apart_and_can_be_replayed(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "keys.json"
    diverted, text = new_key("write", "acme")
    other, other_text = new_key("write", "acme")
    change_keys(path, lambda _keys: (msgspec.structs.replace(diverted, diverted_at=diverted.created_at), other))
    environment = {"VIEW_COUNTS_ACCESS_MODE": "keys", "VIEW_COUNTS_ACCESS_KEYS_FILE": str(path)}
    settings = Settings()
    events = [{"video_id": f"diverted-{n}"} for n in range(50)]
    with service("ingest", environment) as url:

        def post(key: str, *videos: dict[str, str]) -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {key}"}
            answer = httpx2.post(f"{url}/v1/events", json={"events": list(videos)}, headers=headers, timeout=30)
            assert answer.status_code == 202, answer.text
            found: dict[str, Any] = answer.json()
            return found

        made = post(text, *events)
        assert made["accepted"] == 50
        assert post(other_text, {"video_id": "counted"})["accepted"] == 1
    assert not any(b"diverted-" in record.value for record in records(stack))
    letters = choose(settings, "diverted", None, None, None, None)
    planned = list(Planner(settings, time.time_ns() // 1_000_000).plan(letters))
    assert {one.event["event_id"] for one in planned if one.event} == {one["event_id"] for one in made["event_ids"]}
    assert {(one.action, one.note) for one in planned} == {(Action.AS_IS, COUNTS)}
    # Unless somebody asks for them, they are no letters.
    assert choose(settings, None, None, None, None, None) == []


def test_too_much_in_flight_is_429(stack: Stack, client: httpx2.Client) -> None:
    body = {"events": some_events(IN_FLIGHT_MAX * 2 // 3)}
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/events", json=body), range(6)))
    statuses = {answer.status_code for answer in answers}
    assert statuses == {202, 429}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)


def test_kafka_away_is_503_and_a_resend_completes(stack: Stack, client: httpx2.Client) -> None:
    assert eventually(lambda: ready(client), BACK_S)
    caught = some_events(20)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        # Its write is under way, or waits for others, when the broker goes.
        early = pool.submit(client.post, "/v1/events", json={"events": caught})
        time.sleep(0.05)
        stack.stop_part("kafka")
        answer = early.result()
    assert answer.status_code in {202, 503}
    acknowledged = {event["event_id"] for event in caught}
    for rejection in answer.json()["rejected"]:
        acknowledged.remove(caught[rejection["index"]]["event_id"])
    assert len(acknowledged) == answer.json()["accepted"]
    assert eventually(lambda: not ready(client), BACK_S)
    refused = client.post("/v1/events", json={"events": some_events(1)})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert client.get("/healthz").status_code == 200
    stack.start_part("kafka")
    assert eventually(lambda: ready(client), BACK_S)
    assert client.post("/v1/events", json={"events": caught}).json()["accepted"] == 20
    found = {str(one) for one in event_ids(stack)}
    assert {event["event_id"] for event in caught} <= found


def test_sigterm_writes_what_it_took(stack: Stack, client: httpx2.Client) -> None:
    assert eventually(lambda: ready(client), BACK_S)
    sent = some_events(50)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/v1/events", json={"events": sent})
        time.sleep(0.05)
        stack.stop_part("ingest")
        assert answer.result().json()["accepted"] == 50
    assert {event["event_id"] for event in sent} <= {str(one) for one in event_ids(stack)}
    stack.start_part("ingest")


def settings_of(stack: Stack, **counting: int) -> Settings:
    """The stack's settings, some counting settings changed."""
    made = Settings()
    kafka = made.kafka.model_copy(update={"bootstrap_servers": stack.endpoints["kafka"]})
    return made.model_copy(update={"kafka": kafka, "counting": made.counting.model_copy(update=counting)})


def topics_tool(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m tools.ops topics`, as on a cluster."""
    return subprocess.run(
        [sys.executable, "-m", "tools.ops", "topics", *arguments],
        env={**os.environ, "VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS": stack.endpoints["kafka"]},
        capture_output=True,
        text=True,
        check=False,
    )


VIEWS = """
import sys
from view_counts_client import Client, Options
options = Options(batch_events_max=200, batch_age_max_s=0.01, exit_flush_s=120, backoff_most_s=1.0, breaker_most_s=2.0)
client = Client(sys.argv[1], spool=sys.argv[2], options=options)
for place in range(int(sys.argv[3]), int(sys.argv[4])):
    client.view(f"spooled-{place}", viewer_id="viewer")
    # Only now does the caller know that it is taken.
    print(place, flush=True)
"""


def test_what_the_python_client_has_spooled_is_in_the_topic_though_sender_and_ingest_are_killed(
    stack: Stack, tmp_path: Path
) -> None:
    def start(first: int, end: int) -> subprocess.Popen[str]:
        arguments = [stack.endpoints["ingest"], str(tmp_path), str(first), str(end)]
        path = str(repository() / "clients" / "python")
        return subprocess.Popen(
            [sys.executable, "-c", VIEWS, *arguments],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )

    taken = []
    killed = start(0, 1_000_000)
    assert killed.stdout is not None
    for line in killed.stdout:
        taken.append(int(line))
        if len(taken) == 2000:
            stack.kill("ingest")
        if len(taken) == 4000:
            killed.kill()
    killed.wait(BACK_S)
    stack.wait_ready("ingest")
    last = len(taken) + 1
    assert start(last, last + 100).wait(BACK_S * 2) == 0
    ids: dict[str, set[bytes]] = {}
    for record in records(stack):
        for event in decode(record.value)[1]["events"]:
            ids.setdefault(event["video_id"], set()).add(event["event_id"])
    spooled = {video: found for video, found in ids.items() if video.startswith("spooled-")}
    # The event that was appended when the sender was killed may be there, too.
    assert set(spooled) - {f"spooled-{last - 1}"} == {
        f"spooled-{place}" for place in [*taken, *range(last, last + 100)]
    }
    assert all(len(found) == 1 for found in spooled.values())


def test_a_topic_that_could_lose_events_takes_none_until_it_is_mended(stack: Stack, client: httpx2.Client) -> None:
    assert eventually(lambda: ready(client), BACK_S)
    kafka = settings_of(stack).kafka
    changes = [("view-events", "retention.bytes", "1000000"), ("view-events-late", "retention.ms", "1000")]
    alter_topics(kafka, changes)
    assert eventually(lambda: not ready(client), BACK_S)
    said = client.get("/readyz").text
    assert said.startswith(
        "topic view-events: retention.bytes=1000000 must be -1, otherwise Kafka would delete even new events"
    )
    refused = client.post("/v1/events", json={"events": some_events(1)})
    assert (refused.status_code, refused.json()["error"]) == (503, said.strip())
    checked = topics_tool(stack, "check")
    assert checked.returncode == 1
    assert [line.split()[0] for line in checked.stdout.splitlines()] == ["WRONG", "note"]

    mended = topics_tool(stack, "mend")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert mended.stdout.endswith("the topics are as they should be\n")
    assert eventually(lambda: ready(client), BACK_S)

    alter_topics(kafka, changes[:1])
    assert topics_tool(stack, "accept", "view-events retention.bytes=2").returncode == 1
    assert topics_tool(stack, "accept", "view-events retention.bytes=1000000").returncode == 0
    assert eventually(lambda: ready(client), BACK_S)
    assert topics_tool(stack, "mend").returncode == 0


def test_whoever_has_other_salts_or_partitions_is_refused(stack: Stack) -> None:
    with pytest.raises(TopicMismatchError, match="VIEW_COUNTS_COUNTING_SALTS=32, and 16 is declared"):
        check_topics(settings_of(stack, salts=32))
    settings = settings_of(stack)
    more = settings.kafka.model_copy(update={"partitions": 8})
    with pytest.raises(TopicMismatchError, match="VIEW_COUNTS_KAFKA_PARTITIONS=8, and 4 is declared"):
        check_topics(settings.model_copy(update={"kafka": more}))


def test_partitions_that_are_added_stay_empty(stack: Stack, client: httpx2.Client) -> None:
    assert eventually(lambda: ready(client), BACK_S)
    admin = AdminClient({"bootstrap.servers": stack.endpoints["kafka"]})
    admin.create_partitions([NewPartitions("view-events", 8)])["view-events"].result(30)
    before, after = some_events(50), some_events(50)
    assert client.post("/v1/events", json={"events": before}).json()["accepted"] == 50
    stack.stop_part("ingest")
    stack.start_part("ingest")
    assert eventually(lambda: ready(client), BACK_S)
    assert client.post("/v1/events", json={"events": after}).json()["accepted"] == 50
    assert {event["event_id"] for event in [*before, *after]} <= {str(one) for one in event_ids(stack)}
    assert {record.partition for record in records(stack)} == {0, 1, 2, 3}
    (note,) = check_topics(settings_of(stack))
    assert "has 8 partitions, and 4 are declared" in note.line


def test_a_topic_that_was_made_anew_takes_no_events(stack: Stack, client: httpx2.Client) -> None:
    assert eventually(lambda: ready(client), BACK_S)
    admin = AdminClient({"bootstrap.servers": stack.endpoints["kafka"]})
    admin.delete_topics(["view-events"])["view-events"].result(30)
    assert eventually(lambda: "does not exist" in client.get("/readyz").text, BACK_S)
    assert topics_tool(stack, "check").returncode == 1

    def made_anew() -> bool:
        try:
            create_topics(settings_of(stack).kafka, topics(settings_of(stack)), 1)
        except KafkaException:
            return False
        return "was made anew" in client.get("/readyz").text

    assert eventually(made_anew, BACK_S)
    assert client.post("/v1/events", json={"events": some_events(1)}).status_code == 503
