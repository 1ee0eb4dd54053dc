"""What travels from a salt's dedup to a shard's window: partial counts and the salt's frontier.

An element is <version u8><salt u16><frontier i64><minutes u16>, then per minute <minute i64><bytes u32><rows>.
Little-endian. It holds everything that the salt counted for the shard and had not sent, so that the frontier is
true of it: nothing for a minute closed by the frontier comes after.
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
    """One element, read: rows by minute."""

    salt: int
    frontier_ms: int
    rows_by_minute: dict[int, Bytes]


def encode(salt: int, frontier_ms: int, dated_rows: Bytes, shards: int) -> dict[int, bytes]:
    """The elements, by shard, that carry these dated rows; shards without rows have none."""
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
    """An element that carries no counts."""
    return _HEAD.pack(VERSION, salt, frontier_ms, 0)


def decode(element: bytes) -> Partial:
    """Reads an element. ValueError for a version that this code does not know."""
    version, salt, frontier_ms, minutes = _HEAD.unpack_from(element)
    if version != VERSION:
        raise ValueError(f"partial of version {version}, this code reads {VERSION}: upgrade it")
    at = _HEAD.size
    rows_by_minute = {}
    for _ in range(minutes):
        minute, size = _MINUTE.unpack_from(element, at)
        at += _MINUTE.size
        rows_by_minute[minute] = np.frombuffer(element, np.uint8, size, at)
        at += size
    return Partial(salt, frontier_ms, rows_by_minute)
