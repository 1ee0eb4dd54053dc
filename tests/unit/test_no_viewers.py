"""Texts that programs send which know no viewer are nobody: no unique viewer, and nobody whom a rule could mark."""

import uuid

import pytest

from schemas import registry
from schemas.viewers import NO_VIEWERS, is_no_viewer
from settings import Settings
from udfs.logic.slices.audience import viewer_hash
from udfs.logic.slices.slice_counts import SliceCounter
from udfs.logic.stream.block_table import NOBODY

RULES = Settings().counting.model_copy(update={"salts": 1})
AT_MS = 1_767_225_600_000
PEOPLE = [
    "undefined ",
    "nulls",
    "nu",
    "[object Objects]",
    "0",
    "nan2",
    "Nobody",
    "00000000-0000-0000-0000-000000000001",
]


def viewers_of(names: list[str]) -> list[bytes]:
    """The viewers that a slice has of a view by each of these."""
    events = [
        {"event_id": uuid.UUID(int=n + 1).bytes, "video_id": "v", "viewed_at": AT_MS, "kind": "view", "viewer_id": name}
        for n, name in enumerate(names)
    ]
    head = {"batch_id": bytes(16), "producer_id": "", "salt": 0, "salts": 1, "produced_at": AT_MS}
    counter = SliceCounter(
        RULES, partition=0, partitions=1, blocks=NOBODY, late_ms_max=1 << 50, viewed_ms_min=0, dedups={}
    )
    counter.count(bytes(4), registry.encode("ViewBatch", {**head, "events": events}), AT_MS)
    found = counter.finish(lambda _hour, _ids: ())
    assert sum(found.sums.cells["views"].to_pylist()) == len(names)
    return sorted(found.sums.viewers["viewer"].to_pylist())


@pytest.mark.parametrize("change", [str, str.upper, str.title])
def test_their_views_count_and_they_are_no_viewer(change: type[str]) -> None:
    names = [change(name) for name in NO_VIEWERS]
    assert all(map(is_no_viewer, names))
    assert viewers_of(names) == []


def test_whoever_is_called_nearly_so_is_one() -> None:
    assert not any(map(is_no_viewer, PEOPLE))
    assert viewers_of(PEOPLE) == sorted(map(viewer_hash, PEOPLE))
