"""The elements that a salt's dedup sends to a shard's window: partial counts and the salt's frontier.

An element is <version u8><salt u16><frontier i64><minutes u16>, then per minute <minute i64><bytes u32><rows>,
little-endian. It holds everything that the salt has counted for the shard and not sent yet. So the shard can trust the
frontier: no count for a minute that the frontier closes comes later.
"""

import struct
from dataclasses import dataclass

import numpy as np

from udfs.logic.kernels.key_table import Bytes
from udfs.logic.minutes.cells import merge_dated_rows, pack_rows

VERSION = 1
_HEAD = struct.Struct("<BHqH")
_MINUTE = struct.Struct("<qI")


@dataclass(frozen=True)
class Partial:
    """A decoded element. Its rows, by minute, are rows without minute of udfs.logic.minutes.cells."""

    salt: int
    frontier_ms: int
    rows_by_minute: dict[int, Bytes]


def encode(salt: int, frontier_ms: int, dated_rows: Bytes, shards: int) -> dict[int, bytes]:
    """Return the elements that carry these dated rows, by shard. A shard without rows has no element."""
    key_at, key_len, minutes, counts, shard = merge_dated_rows(dated_rows, shards)
    order = np.lexsort((minutes, shard))
    is_new_group = np.diff(shard[order]) | np.diff(minutes[order])
    blocks: dict[int, list[bytes]] = {}
    for cells in np.split(order, np.nonzero(is_new_group)[0] + 1):
        rows = pack_rows(dated_rows, key_at, key_len, counts, cells).tobytes()
        minute_blocks = blocks.setdefault(int(shard[cells[0]]), [])
        minute_blocks.append(_MINUTE.pack(minutes[cells[0]], len(rows)) + rows)
    return {
        target: _HEAD.pack(VERSION, salt, frontier_ms, len(of_minutes)) + b"".join(of_minutes)
        for target, of_minutes in blocks.items()
    }


def encode_frontier(salt: int, frontier_ms: int) -> bytes:
    """Return an element that carries the frontier and no counts."""
    return _HEAD.pack(VERSION, salt, frontier_ms, 0)


def decode(element: bytes) -> Partial:
    """Decode an element. Raises ValueError for a version that this code does not know."""
    version, salt, frontier_ms, minutes = _HEAD.unpack_from(element)
    if version != VERSION:
        raise ValueError(f"a partial count has version {version}, this code reads version {VERSION}: use newer code")
    at = _HEAD.size
    rows_by_minute = {}
    for _ in range(minutes):
        minute, size = _MINUTE.unpack_from(element, at)
        at += _MINUTE.size
        rows_by_minute[minute] = np.frombuffer(element, np.uint8, size, at)
        at += size
    return Partial(salt, frontier_ms, rows_by_minute)
