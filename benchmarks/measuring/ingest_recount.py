"""Finds which events of the load tool a topic has. Knows the load tool's ids, and no HTTP.

An id says from which client and request an event is (its first four bytes) and its place in the body (its last six).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from connectors.compacted_topic import read_to_end
from schemas import registry
from settings import KafkaSettings
from udfs.logic.wire.batch_scan import START, Unreadable, scan_as_named

READ_TIMEOUT_S = 300.0
# The load tool's fresh ids: the first four bits of the request's number are the client's.
CLIENT_SHIFT = 28
ID_BYTES = 16
# No body has more events.
PLACES = 1 << 20
# A datum of one event without a batch begins with its id.
Ids = npt.NDArray[np.uint8]


class UnreadableRecordError(ValueError):
    """A service has written a record that the count job could not read."""


def ids_of(value: bytes) -> Ids:
    """The ids (uint8[n, 16]) of a record: a ViewBatch, or one event alone. Raises UnreadableRecordError."""
    buffer = np.frombuffer(value, np.uint8)
    if registry.by_prefix().get(value[: registry.PREFIX_BYTES], ("", 0))[0] != "ViewBatch":
        return buffer[np.newaxis, :ID_BYTES]
    found = scan_as_named(buffer)
    if isinstance(found, Unreadable):
        raise UnreadableRecordError(f"a record of {len(value)} bytes is {found.name.lower()}")
    scan = found[1]
    if scan.faults.any():
        raise UnreadableRecordError(f"{int((scan.faults != 0).sum())} events of a record have a fault")
    return buffer[scan.spans[:, START, np.newaxis] + np.arange(ID_BYTES)]


def keys_of(ids: Ids) -> npt.NDArray[np.int64]:
    """A number for each id: that of its request times PLACES, plus its place in the body."""
    requests = np.ascontiguousarray(ids[:, :4]).view(">u4")[:, 0].astype(np.int64)
    places = np.ascontiguousarray(ids[:, 12:]).view(">u4")[:, 0].astype(np.int64)
    return requests * PLACES + places


def expected_keys(requests: Iterable[int], events_per_body: int) -> npt.NDArray[np.int64]:
    """The keys of the events of whole requests, by the numbers in their ids, sorted."""
    numbers = np.fromiter(requests, np.int64)
    return np.sort((numbers[:, np.newaxis] * PLACES + np.arange(events_per_body)).ravel())


def acknowledged_requests(path: Path, client: int) -> list[int]:
    """The numbers in a file of the load tool, as they are in ids."""
    return [client << CLIENT_SHIFT | int(number) for number in np.fromfile(path, "<u4")]


def events_in(brokers: str, topic: str) -> npt.NDArray[np.int64]:
    """The keys of all events of a topic, sorted; an event that was written twice is there twice."""
    records = read_to_end(KafkaSettings(bootstrap_servers=brokers), topic, READ_TIMEOUT_S)
    found = [keys_of(ids_of(record.value)) for record in records if record.value]
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)


def recount(brokers: str, topic: str, files: Sequence[tuple[Path, int]], events_per_body: int) -> dict[str, int]:
    """Compare what the clients (file, number) were told was acknowledged with what the topic has."""
    acknowledged = expected_keys(
        (number for path, client in files for number in acknowledged_requests(path, client)), events_per_body
    )
    return compared(acknowledged, of_clients(events_in(brokers, topic), [client for _, client in files]))


def of_clients(keys: npt.NDArray[np.int64], clients: Sequence[int]) -> npt.NDArray[np.int64]:
    """The keys of events of these clients."""
    return keys[np.isin(keys // PLACES >> CLIENT_SHIFT, clients)]


def compared(acknowledged: npt.NDArray[np.int64], written: npt.NDArray[np.int64]) -> dict[str, int]:
    """What of the acknowledged events is missing, and what the topic has beyond them."""
    distinct = np.unique(written)
    places = np.minimum(np.searchsorted(distinct, acknowledged), max(len(distinct) - 1, 0))
    there = int((distinct[places] == acknowledged).sum()) if len(distinct) else 0
    return {
        "acknowledged": len(acknowledged),
        "distinct_in_topic": len(distinct),
        "missing": len(acknowledged) - there,
        "written_twice": len(written) - len(distinct),
    }
