"""Counts joined with what is known: messages read back by fastavro, partitions named once, and untitled ones kept."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from schemas import registry
from udfs.logic.minutes.cells import Cell, dated_row
from udfs.logic.outgoing.enrichment import UNTITLED_DAYS, Enrichment, Partition, Untitled
from udfs.logic.outgoing.metadata_cache import Entry, MetadataCache
from udfs.logic.wire.keyed_records import Keyed
from udfs.logic.wire.metadata import read_metadata

DAY = 20_000
MINUTE = DAY * 1440 + 17
ABOUT = {"title": "Títle", "channel_id": "c", "channel_name": "Channel", "created_at": 5}


def about(title: str) -> bytes:
    record = {"video_id": "v", **ABOUT, "title": title}
    found = read_metadata(b"v", registry.encode("VideoMetadata", record))
    assert isinstance(found, Keyed)
    assert found.rest is not None
    return found.rest


def rows(cells: Sequence[Cell]) -> bytes:
    return b"".join(map(dated_row, cells))


CELLS = [
    Cell(b"v", b"view", MINUTE, 1),
    Cell(b"v", b"view", MINUTE + 1, (1 << 32) - 1),
    Cell(b"v", b"like", MINUTE, 300),
    Cell("ü".encode() * 32, b"k" * 32, -1, 7),
]


def test_a_message_is_the_cell_and_what_is_known_of_its_video() -> None:
    enrichment = Enrichment()
    enrichment.learn("v", about("Títle"))
    found = enrichment.enrich(rows(CELLS)).messages
    assert [key for _, key in found] == [cell.video_id for cell in CELLS]
    for (value, _), cell in zip(found, CELLS, strict=True):
        name, count = registry.decode(value)
        assert name == "ViewCount"
        assert count["minute"].timestamp() == cell.minute * 60
        assert (count["video_id"].encode(), count["kind"].encode(), count["views"]) == (
            cell.video_id,
            cell.kind,
            cell.views,
        )
        known = count["about"]
        assert (None if known is None else known["title"]) == ("Títle" if cell.video_id == b"v" else None)
        # And not a byte more.
        assert registry.encode("ViewCount", count) == value


def test_a_partition_is_named_once_for_each_thing_that_is_known() -> None:
    enrichment = Enrichment()
    first = enrichment.enrich(rows(CELLS))
    partitions = [
        Partition(b"v", b"view", DAY),
        Partition(b"v", b"like", DAY),
        Partition("ü".encode() * 32, b"k" * 32, -1),
    ]
    assert (first.titled, first.untitled) == ([], partitions)
    again = enrichment.enrich(rows(CELLS))
    assert (again.titled, again.untitled) == ([], [])
    for title in ("first", "second", "first"):
        enrichment.learn("v", about(title))
        named = enrichment.enrich(rows(CELLS))
        assert named.titled == [(partition, about(title)) for partition in partitions[:2]]
        assert named.untitled == []
    enrichment.learn("v", None)
    assert enrichment.about(b"v") is None
    tomorrow = enrichment.enrich(rows([Cell(b"v", b"view", MINUTE + 1440, 1)]))
    assert (tomorrow.titled, tomorrow.untitled) == ([], [Partition(b"v", b"view", DAY + 1)])


def test_many_partitions_are_each_named_once() -> None:
    enrichment = Enrichment()
    cells = [Cell(b"video-%d" % n, b"view", MINUTE, 1) for n in range(20_000)]
    for start in range(0, len(cells), 3000):
        enrichment.enrich(rows(cells[start : start + 3000]))
    assert enrichment.enrich(rows(cells)).untitled == []


def test_what_is_untitled_is_titled_once_known_and_survives_a_restore() -> None:
    untitled = Untitled(10)
    partitions = [Partition(b"a", b"view", DAY), Partition(b"a", b"like", DAY), Partition(b"b", b"view", DAY)]
    untitled.add(partitions)
    untitled.add(partitions[:1])
    stored = {video: packed for video, packed in untitled.take_changed() if packed is not None}
    assert (len(untitled), set(stored)) == (3, {"a", "b"})
    assert list(untitled.take_changed()) == []

    restored = Untitled(10)
    restored.restore(stored.items())
    assert len(restored) == 3
    enrichment = Enrichment()
    assert restored.take_known(enrichment) == []
    enrichment.learn("a", about("A"))
    assert restored.take_known(enrichment) == [(partition, about("A")) for partition in partitions[:2]]
    assert list(restored.take_changed()) == [("a", None)]
    assert len(restored) == 1


@pytest.mark.parametrize("most", [0, 1, 5])
def test_the_oldest_make_room(most: int) -> None:
    untitled = Untitled(most)
    untitled.add(Partition(b"%d" % n, b"view", DAY) for n in range(8))
    assert len(untitled) == most
    kept = {video for video, packed in untitled.take_changed() if packed is not None}
    assert kept == {str(n) for n in range(8 - most, 8)}


def test_partitions_that_tables_no_longer_hold_are_forgotten() -> None:
    untitled = Untitled(100)
    untitled.add([Partition(b"a", b"view", DAY), Partition(b"a", b"view", DAY + UNTITLED_DAYS)])
    assert len(untitled) == 1


def test_what_is_known_in_a_file_is_joined_like_what_is_in_memory(tmp_path: Path) -> None:
    r = random.Random(2)
    # Room for some videos, and for naming some hundred partitions.
    here, there = Enrichment(), Enrichment(40_000, str(tmp_path))
    for turn in range(60):
        for _ in range(40):
            video, known = f"video-{r.randrange(300)}", about(f"title {turn}") if r.random() < 0.8 else None
            here.learn(video, known)
            there.learn(video, known)
        cells = [Cell(b"video-%d" % r.randrange(350), b"view", MINUTE + n, n) for n in range(100)]
        wanted, found = here.enrich(rows(cells)), there.enrich(rows(cells))
        assert found.messages == wanted.messages
        videos = sorted({cell.video_id for cell in cells})
        assert there.abouts(videos) == here.abouts(videos)
        assert [there.about(video) for video in videos] == [here.about(video) for video in videos]
        # At least these; of what was forgotten some once more, and as it is known.
        assert set(wanted.titled) <= set(found.titled)
        assert set(wanted.untitled) <= set(found.untitled)
        assert set(dict(found.titled).values()) <= {*dict(wanted.titled).values(), *there.abouts(videos).values()}
        assert there.held_bytes <= 40_000
    assert there.spilled_bytes > 0
    assert list(tmp_path.iterdir()) == [], "a file without a name"


def test_untitled_partitions_get_their_turns_while_what_is_known_is_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("udfs.logic.outgoing.enrichment.LOOKS_AT_ONCE", 7)
    enrichment = Enrichment(0, str(tmp_path))
    untitled = Untitled(100)
    partitions = [Partition(b"%d" % n, b"view", DAY) for n in range(40)]
    untitled.add(partitions)
    for n in range(0, 40, 2):
        enrichment.learn(str(n), about(f"title {n}"))
    found = [titled for _ in range(14) for titled in untitled.take_known(enrichment)]
    assert sorted(found) == sorted((partitions[n], about(f"title {n}")) for n in range(0, 40, 2))
    assert len(untitled) == 20


def test_what_finds_no_room_in_a_file_is_known_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = MetadataCache(0, str(tmp_path))
    known.put(b"a", Entry(b"\x02old", 1))
    assert known._file is not None
    pages = known._file.execute("PRAGMA page_count").fetchone()[0]
    known._file.execute(f"PRAGMA max_page_count = {pages}")
    known.put(b"a", Entry(b"\x02" + b"new" * 5000, 2))
    assert known.get(b"a") == Entry(b"\x02" + b"new" * 5000, 2)
    assert "VIEW_COUNTS_JOB_SPILL_FOLDER" in caplog.text
    assert known.held_bytes > 0, "which shows"
    known.forget(b"a")
    assert (known.get(b"a"), known.held_bytes) == (None, 0)
