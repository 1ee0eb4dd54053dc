"""The generator's bytes read back by an ordinary Avro reader, and its salts by an ordinary hash."""

import io
import json

import fastavro
import httpx2
import mmh3
import numpy as np
import pytest

from schemas import registry
from tools.load.encoding import records
from tools.load.http import HttpSender, NotAcknowledgedError, texts
from tools.load.malformed import BAD_JSON_EVENTS, bad_records, foreign_records
from tools.load.traffic import Block, Traffic, TrafficSource
from tools.load.vocabulary import KINDS

NOW_MS = 1_795_000_000_000


@pytest.fixture
def source() -> TrafficSource:
    return TrafficSource(Traffic(videos=50, duplicate_share=0.2))


def test_batches_hold_each_event_once_in_order_under_its_salt(source: TrafficSource) -> None:
    block = source.block(3000, NOW_MS)
    seen: dict[int, list[tuple[bytes, str, int, str]]] = {}
    batch_ids = set()
    for record in records(block, source.videos, events_per_batch=100):
        name, value = registry.decode(record.value)
        assert name == "ViewBatch"
        assert (value["salt"], value["salts"], len(value["events"])) == (record.salt, 16, record.events)
        assert 1 <= record.events <= 100
        batch_ids.add(value["batch_id"])
        for event in value["events"]:
            assert mmh3.hash(event["event_id"], 0, signed=False) % 16 == record.salt
            at_ms = round(event["viewed_at"].timestamp() * 1000)
            seen.setdefault(record.salt, []).append((event["event_id"], event["video_id"], at_ms, event["kind"]))
    expected: dict[int, list[tuple[bytes, str, int, str]]] = {}
    for salt, identity, event in zip(block.salt.tolist(), block.ids, block.events, strict=True):
        video = source.videos.names[event["video"]].decode()
        row = (bytes(identity), video, int(event["viewed_at_ms"]), KINDS[event["kind"]].decode())
        expected.setdefault(salt, []).append(row)
    assert seen == expected
    assert len(batch_ids) == len(list(records(block, source.videos, events_per_batch=100)))


def test_the_record_ends_where_its_datum_ends(source: TrafficSource) -> None:
    for record in records(source.block(500, NOW_MS), source.videos, events_per_batch=1000):
        stream = io.BytesIO(record.value[registry.PREFIX_BYTES :])
        fastavro.schemaless_reader(stream, registry.schema("ViewBatch"), None)
        assert stream.read() == b""


def test_json_says_the_same_as_avro(source: TrafficSource) -> None:
    block = source.block(400, NOW_MS)
    videos = [name.decode(errors="replace") for name in source.videos.names]
    found = [json.loads(text) for text in texts(block, videos, [kind.decode() for kind in KINDS])]
    assert [bytes.fromhex(event["event_id"].replace("-", "")) for event in found] == [bytes(i) for i in block.ids]
    for event, row in zip(found, block.events, strict=True):
        at = event["viewed_at"]
        if isinstance(at, str):
            at = round(np.datetime64(at.removesuffix("Z"), "ms").astype(int))
        assert (event["video_id"], at) == (videos[row["video"]], row["viewed_at_ms"])
        assert event.get("kind", "view") == KINDS[row["kind"]].decode()
    assert any(isinstance(event["viewed_at"], str) for event in found)


def test_every_bad_record_is_its_own_kind() -> None:
    made = bad_records(3, 16, NOW_MS) + foreign_records(3, 16, NOW_MS)
    assert len({record.name for record in made}) == len(made)
    assert [record.events for record in made if record.events] == [1]
    assert {len(record.key) == 4 for record in foreign_records(3, 16, NOW_MS)} == {True, False}


# Of ingest, or instead of one; of numbers, that it takes the body but for the events there.
Answer = Exception | httpx2.Response | list[int]


async def send(block: Block, source: TrafficSource, answers: list[Answer]) -> HttpSender:
    """Send through a transport that gives these answers in turn, and then takes everything."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        answer = answers.pop(0) if answers else None
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return answer
        events = json.loads(request.content)["events"]
        bad = {json.dumps(json.loads(text)) for text in BAD_JSON_EVENTS}
        rejected = [
            {"index": index, "field": None, "reason": "bad"}
            for index, event in enumerate(events)
            if json.dumps(event) in bad
        ]
        failed = [{"index": index, "field": None, "reason": "not written: no broker"} for index in answer or []]
        told = rejected + failed
        return httpx2.Response(202, json={"accepted": len(events) - len(told), "rejected": told})

    sender = HttpSender("http://ingest", source.videos, events_per_body=100, concurrency=1)
    sender._client = httpx2.AsyncClient(base_url="http://ingest", transport=httpx2.MockTransport(handle))
    async with sender:
        await sender.send_block(block)
    return sender


@pytest.mark.slow
def test_what_was_not_acknowledged_is_sent_again(source: TrafficSource) -> None:
    import asyncio

    answers: list[Answer] = [httpx2.ReadTimeout("late"), httpx2.Response(503), [0, 7], httpx2.Response(429)]
    sender = asyncio.run(send(source.block(100, NOW_MS), source, answers))
    assert sender.tally.acknowledged == 100
    assert sender.tally.unknown == 100
    assert sender.tally.sent_again == 100 + 100 + 2 + 2


def test_an_answer_that_loses_an_event_is_an_error(source: TrafficSource) -> None:
    import asyncio

    answers: list[Answer] = [httpx2.Response(202, json={"accepted": 99, "rejected": []})]
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(send(source.block(100, NOW_MS), source, answers))
    assert caught.group_contains(NotAcknowledgedError)
