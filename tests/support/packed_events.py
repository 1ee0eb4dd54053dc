"""The single events in what ingest has packed by salt."""

from collections.abc import Iterator
from itertools import pairwise

from services.ingest.packing import Packed


def events_of(packed: Packed) -> Iterator[tuple[int, int, bytes]]:
    """(salt, index in the body, datum) of every event, by salt. They must fill their blocks and keep their order."""
    for salt, (block, ends, places) in enumerate(zip(packed.blocks, packed.ends, packed.indexes, strict=True)):
        assert places == sorted(places)
        assert [len(ends), *ends[-1:]] == [len(places), *([len(block)] if places else [])]
        for place, (start, end) in zip(places, pairwise([0, *ends]), strict=True):
            yield salt, place, block[start:end]
