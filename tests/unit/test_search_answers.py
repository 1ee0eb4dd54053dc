"""Search as it is answered: how complete the index is, and what is no question. Kafka's part has no server here."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from confluent_kafka import KafkaError, KafkaException
from starlette.applications import Starlette

from schemas import registry
from services.query import app as query_app
from services.query.titles import following as module
from services.query.titles.following import FULL, Following, NotReadError, Progress
from services.query.titles.index import Video
from settings import KafkaSettings, QuerySettings, Settings
from tests.support.waiting import eventually

TOPIC = KafkaSettings().metadata_topic


def get(app: Starlette, url: str) -> httpx2.Response:
    async def one() -> httpx2.Response:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get(url)

    return asyncio.run(one())


@pytest.fixture
def following(monkeypatch: pytest.MonkeyPatch) -> Following:
    made = Following(KafkaSettings(), 1 << 20)
    monkeypatch.setattr(query_app, "Following", lambda *_: made)
    return made


def test_an_answer_says_how_complete_the_index_is(following: Following) -> None:
    app = query_app.build_service(Settings()).public
    answer = get(app, "/v1/search?q=au")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "not read to its end yet" in answer.text
    following.index.put([("A", Video("A", "Aurora", "c-1", "Night sky", -62_135_596_800_000))])
    found = get(app, "/v1/search?q=au").json()
    about = {"title": "Aurora", "channel_id": "c-1", "channel_name": "Night sky", "created_at": "0001-01-01T00:00:00Z"}
    assert found["videos"] == [{"video_id": "A", **about}]
    assert (found["index"]["complete"], found["index"]["complete_at"], found["index"]["videos"]) == (False, None, 1)
    following.progress = Progress(1.0, None)
    index = {"complete": True, "because": None, "complete_at": "1970-01-01T00:00:01Z", "videos": 1}
    assert get(app, "/v1/search?q=x").json() == {"videos": [], "index": index}


def test_search_can_be_off() -> None:
    answer = get(query_app.build_service(Settings(query=QuerySettings(search_bytes_max=0))).public, "/v1/search?q=au")
    assert (answer.status_code, "VIEW_COUNTS_QUERY_SEARCH_BYTES_MAX" in answer.text) == (503, True)


@pytest.mark.parametrize(
    ("query", "field"),
    [("", "q"), ("q=", "q"), (f"q={'a' * 201}", "q"), ("q=a&limit=0", "limit"), ("q=a&limit=51", "limit")],
)
def test_what_is_no_question(following: Following, query: str, field: str) -> None:
    answer = get(query_app.build_service(Settings()).public, f"/v1/search?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


# --- following the topic


class Message:
    """A record, or the end of its partition if it has neither key nor value."""

    def __init__(self, partition: int, key: bytes | None = None, value: bytes | None = None) -> None:
        self._partition, self._key, self._value = partition, key, value

    def partition(self) -> int:
        return self._partition

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def error(self) -> KafkaError | None:
        return None if self._key else KafkaError(KafkaError._PARTITION_EOF)


class Kafka:
    """A topic of two partitions, in place of a consumer of it. `batches` are given one after another."""

    def __init__(self) -> None:
        self.batches: list[list[Message]] = []
        self.is_away = False
        self.partitions = [0, 1]
        self.leaderless: list[int] = []
        self.assigned: list[int] = []
        self.opened = 0
        self.looks = 0

    def __call__(self, _config: dict[str, Any]) -> "Kafka":
        self.opened += 1
        return self

    def list_topics(self, topic: str, timeout: float) -> Any:
        self.looks += 1
        if self.is_away:
            raise KafkaException(KafkaError(KafkaError.BROKER_NOT_AVAILABLE))
        no_leader = KafkaError(KafkaError.LEADER_NOT_AVAILABLE)
        partitions = {
            one: SimpleNamespace(error=no_leader if one in self.leaderless else None) for one in self.partitions
        }
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions=partitions)})

    def incremental_assign(self, places: list[Any]) -> None:
        self.assigned += [place.partition for place in places]

    def consume(self, _number: int, timeout: float) -> list[Message]:
        threading.Event().wait(0.005)
        return self.batches.pop(0) if self.batches else []

    def close(self) -> None:
        pass


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    made = Kafka()
    monkeypatch.setattr(module, "Consumer", made)
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.02)
    monkeypatch.setattr(module, "AGAIN_S", 0.02)
    return made


def record(video_id: str, title: str, channel_id: str = "c") -> tuple[bytes, bytes]:
    about = {"title": title, "channel_id": channel_id, "channel_name": "n", "created_at": 0}
    return video_id.encode(), registry.encode("VideoMetadata", {"video_id": video_id, **about})


def test_the_index_is_complete_when_each_partition_was_read_to_its_end(kafka: Kafka) -> None:
    kafka.batches = [[Message(0, *record("A", "Aurora")), Message(0)]]
    following = Following(KafkaSettings(), 1 << 20)
    following.start()
    try:
        assert eventually(lambda: following.index.videos == 1, 30, 0.005)
        assert following.progress.lacks is not None
        kafka.batches = [[Message(1, *record("B", "Borealis"))], [Message(1)]]
        assert eventually(lambda: following.progress.lacks is None, 30, 0.005)
        assert following.index.videos == 2
        before_s = following.progress.at_s
        assert before_s is not None
        # Silence, while the brokers answer.
        assert eventually(lambda: (following.progress.at_s or 0) > before_s, 30, 0.005)
        kafka.is_away = True
        assert eventually(lambda: following.progress.lacks is not None, 30, 0.005)
        assert [one.video_id for one in following.index.find("bor", 5)] == ["B"]
        kafka.is_away = False
        kafka.partitions.append(2)
        assert eventually(lambda: kafka.assigned == [0, 1, 2], 30, 0.005)
        kafka.batches = [[Message(2)]]
        assert eventually(lambda: following.progress.lacks is None, 30, 0.005)
        assert kafka.opened == 1
    finally:
        following.stop()


def test_a_partition_without_a_leader_is_lacking_whatever_the_others_say(kafka: Kafka) -> None:
    kafka.batches = [[Message(0), Message(1)]]
    following = Following(KafkaSettings(), 1 << 20)
    following.start()
    try:
        assert eventually(lambda: following.progress.lacks is None, 30, 0.005)
        kafka.leaderless = [1]
        assert eventually(lambda: "partition 1" in (following.progress.lacks or ""), 30, 0.005)
        at_s = following.progress.at_s
        kafka.batches = [[Message(0, *record("A", "Aurora"))], [Message(0)]]
        assert eventually(lambda: following.index.videos == 1 and not kafka.batches, 30, 0.005)
        looks = kafka.looks
        assert eventually(lambda: kafka.looks > looks + 1, 30, 0.005)
        assert (following.progress.at_s, following.progress.lacks is None) == (at_s, False)
        kafka.leaderless = []
        assert eventually(lambda: following.progress.lacks is None, 30, 0.005)
        assert kafka.opened == 1
    finally:
        following.stop()


def test_what_breaks_is_read_anew_and_the_old_index_answers_until_then(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = Following(KafkaSettings(), 1 << 20)
    kafka.batches = [[Message(0, *record("A", "Aurora")), Message(0), Message(1)]]
    following.start()
    try:
        assert eventually(lambda: following.progress.lacks is None, 30, 0.005)
        old = following.index
        broken = Message(0)
        monkeypatch.setattr(broken, "error", lambda: KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        kafka.batches = [[broken]]
        assert eventually(lambda: kafka.opened > 1, 30, 0.005)
        assert (following.index, following.index.videos) == (old, 1)
        # A was deleted meanwhile, and its tombstone is gone.
        kafka.batches = [[Message(0, *record("B", "Borealis")), Message(0), Message(1)]]
        assert eventually(lambda: following.index is not old, 30, 0.005)
        assert (following.index.get("A"), following.index.videos) == (None, 1)
    finally:
        following.stop()


def test_a_full_index_says_so_also_at_the_end_of_the_topic(kafka: Kafka) -> None:
    following = Following(KafkaSettings(), 16 * 4096)
    records = [[Message(0, *record(f"{at}-{n}", "Some title")) for n in range(50)] for at in range(40)]
    kafka.batches = [*records, [Message(0), Message(1)]]
    following.start()
    try:
        assert eventually(lambda: following.progress.at_s is not None, 30, 0.005)
        assert following.progress.lacks == FULL
    finally:
        following.stop()


def test_a_full_index_forgets_what_is_deleted_and_learns_what_is_changed(kafka: Kafka) -> None:
    following = Following(KafkaSettings(), 32 * 4096)
    records = [[Message(0, *record(f"{at}-{n}", "Some title")) for n in range(20)] for at in range(120)]
    changed = [Message(0, b"0-0"), Message(0, *record("0-1", "Other", "moved")), Message(0, *record("new", "New"))]
    # Together they have no place.
    longer = [f"{at}-{n}" for at in (1, 2) for n in range(20)]
    long = [Message(0, *record(one, " ".join(f"{one}-{n}" for n in range(400)), "moved")) for one in longer]
    kafka.batches = [*records, changed, long, [Message(0), Message(1)]]
    following.start()
    try:
        assert eventually(lambda: following.progress.at_s is not None, 30, 0.005)
        assert following.progress.lacks == FULL
        assert following.channel_of("0-3") == "c"
        assert following.channel_of("0-1") == "moved"
        assert [one.video_id for one in following.index.find("other", 5)] == ["0-1"]
        for unknown in ("0-0", "new"):
            with pytest.raises(NotReadError, match="full"):
                following.channel_of(unknown)
            assert following.index.get(unknown) is None
        # Nothing of before is left of those for which there was no place.
        assert {following.index.channel_of(one) for one in longer} == {"moved", None}
        assert {None if (about := following.index.get(one)) is None else about.channel_id for one in longer} == {
            "moved",
            None,
        }
    finally:
        following.stop()
