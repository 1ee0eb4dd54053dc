"""What is known of videos meets their counts, whichever comes first: in the tables, in lists and on the topic."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.compacted_topic import read_to_end
from schemas import registry
from tests.support.installation import PROMPT, Installation
from tests.support.metadata import CREATED_MS, Publisher, titles
from tests.support.records import MINUTE_MS, Feeder, View, count
from tests.support.waiting import eventually
from tools.stack import Stack

COUNTING = {
    **PROMPT,
    "rank_interval_ms": 500,
}


@pytest.fixture
def installation(shared_stack: Stack, request: pytest.FixtureRequest) -> Iterator[Installation]:
    name = request.node.name.removeprefix("test_")[:30].rstrip("_").replace("_", "-")
    with Installation(shared_stack, name, COUNTING, trusted_times=False) as made:
        yield made


def views(video_id: str, number: int, kind: str = "view") -> list[View]:
    now_ms = time.time_ns() // 1_000_000
    return [View(video_id, now_ms - MINUTE_MS, kind) for _ in range(number)]


def values(installation: Installation, topic: str) -> list[tuple[bytes | None, dict[str, Any]]]:
    """(key, value) of every record of a topic."""
    records = read_to_end(installation.settings.kafka, topic, 60)
    return [(key, registry.decode(value or b"")[1]) for key, value, *_ in records]


def publish_bad(publisher: Publisher) -> list[tuple[str, bytes]]:
    """What must hold nothing back; the reason and the bytes of each."""
    good = registry.encode(
        "VideoMetadata",
        {"video_id": "A", "title": "t", "channel_id": "c", "channel_name": "C", "created_at": CREATED_MS},
    )
    publisher.raw(b"B", good)
    # A compacted topic takes no record without a key.
    publisher.raw(b"", good)
    publisher.raw(b"A", b"no avro")
    publisher.raw(b"A", good[:-1])
    return [
        ("key_differs_from_value", good),
        ("no_key", good),
        ("unknown_schema", b"no avro"),
        ("unreadable", good[:-1]),
    ]


def test_titles_reach_tables_lists_and_topic(installation: Installation) -> None:
    publisher, feeder = Publisher(installation), Feeder(installation.settings)
    bad = publish_bad(publisher)
    publisher.titles({"known": "Títle", "never-viewed": "x"})
    job = installation.start(parallelism=2)
    sent = [*views("known", 5), *views("unknown", 3), *views("known", 2, "like")]
    feeder.send(sent)
    everything = {("known", "view"): "Títle", ("known", "like"): "Títle", ("unknown", "view"): None}
    assert eventually(lambda: titles(installation) == everything), titles(installation)
    (row,) = installation.session.execute(
        "SELECT title, channel_id, channel_name, created_at FROM views_by_minute WHERE kind = 'like' LIMIT 1 "
        "ALLOW FILTERING"
    )
    assert (row.title, row.channel_id, row.channel_name, row.created_at.timestamp()) == (
        "Títle", "c-1", "Chännel", CREATED_MS / 1000,
    )  # fmt: skip

    # Filled in once known, though nobody views it any more; unknown again, what was written stays.
    publisher.titles({"unknown": "Läter"})
    assert eventually(lambda: titles(installation)["unknown", "view"] == "Läter"), titles(installation)
    publisher.raw(b"unknown", None)
    # A later change shows with the next view.
    publisher.titles({"known": "Renamed"})
    more = views("known", 1)

    def renamed() -> bool:
        again = views("known", 1)
        more.extend(again)
        feeder.send(again)
        return eventually(lambda: titles(installation)["known", "view"] == "Renamed", timeout_s=3)

    feeder.send(more)
    assert eventually(renamed)
    assert titles(installation)["unknown", "view"] == "Läter"
    expected = count([*sent, *more])
    assert eventually(lambda: installation.views() == expected), installation.views()

    def about_lists() -> set[tuple[str, str]]:
        rows = installation.session.execute("SELECT about FROM top_videos")
        return {(video, about[0]) for row in rows for video, about in (row.about or {}).items()}

    assert eventually(lambda: about_lists() >= {("known", "Renamed")}), about_lists()

    def on_topic() -> dict[tuple[str, str, int], int]:
        largest: dict[tuple[str, str, int], int] = {}
        for _, value in values(installation, installation.settings.kafka.counts_topic):
            cell = value["video_id"], value["kind"], round(value["minute"].timestamp()) // 60
            largest[cell] = max(largest.get(cell, 0), value["views"])
        return largest

    assert eventually(lambda: on_topic() == expected), on_topic()
    records = values(installation, installation.settings.kafka.counts_topic)
    assert all(key == value["video_id"].encode() for key, value in records)
    assert {value["about"]["title"] for key, value in records if key == b"known"} == {"Títle", "Renamed"}
    dead_letters = values(installation, installation.settings.kafka.dead_letter_topic)
    found = [
        (letter["topic"], e["index"], e["reason"], e["payload"]) for _, letter in dead_letters for e in letter["events"]
    ]
    assert sorted(found) == sorted((installation.settings.kafka.metadata_topic, -1, *one) for one in bad)
    assert installation.restarts(job) == 0


@pytest.mark.nightly
def test_metadata_survives_a_savepoint_and_another_parallelism(installation: Installation) -> None:
    publisher, feeder = Publisher(installation), Feeder(installation.settings)
    names = {f"v-{n}": f"title {n}" for n in range(50)}
    publisher.titles(names)
    job = installation.start(parallelism=1)
    feeder.send(views("v-0", 1))
    assert eventually(lambda: titles(installation) == {("v-0", "view"): "title 0"}), titles(installation)
    feeder.send(views("later", 1))
    assert eventually(lambda: ("later", "view") in titles(installation))
    savepoint = installation.stack.flink_stop(job)
    # Read before the savepoint: what is known now comes from its state, and "later" from what it remembers.
    publisher.titles({"later": "Known while the job was away"})
    job = installation.start(parallelism=2, savepoint=savepoint)
    feeder.send([view for name in names for view in views(name, 1, "like")])
    expected = {
        ("v-0", "view"): "title 0",
        ("later", "view"): "Known while the job was away",
        **{(name, "like"): title for name, title in names.items()},
    }
    assert eventually(lambda: titles(installation) == expected), titles(installation)
