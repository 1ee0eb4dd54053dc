"""Counts joined with what is known: messages read back by fastavro, partitions named once, and untitled ones kept."""

from collections.abc import Sequence

import pytest

from schemas import registry
from udfs.logic.cells import Cell, dated_row
from udfs.logic.enrichment import UNTITLED_DAYS, Enrichment, Partition, Untitled
from udfs.logic.keyed_records import Keyed
from udfs.logic.metadata import read_metadata

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
    assert (len(untitled), stored.keys()) == (3, {"a", "b"})
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
