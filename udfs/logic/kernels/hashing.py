"""Hashes: the published one, which gives an event its salt, and internal ones for tables and shards.

`salt_of` is murmur3_x86_32 with seed 0 (Austin Appleby, MurmurHash3, public domain); other producers must compute the
same. `hash_bytes` decides the shard, so savepoints depend on it.
"""

import numpy as np

from udfs.logic.kernels.numba_compat import hash_secret, leaf, load_u32, load_u64

_M32 = np.uint64(0xFFFFFFFF)


@leaf()
def _rotl32(x, r):  # type: ignore[no-untyped-def]
    return ((x << np.uint64(r)) | (x >> np.uint64(32 - r))) & _M32


@leaf()
def salt_of(buf, at, salts):  # type: ignore[no-untyped-def]
    """Return the salt, 0 to salts - 1, of the 16-byte event id at buf[at]."""
    h = np.uint64(0)
    for block in range(4):
        k = (np.uint64(load_u32(buf, at + 4 * block)) * np.uint64(0xCC9E2D51)) & _M32
        k = _rotl32(k, 15)
        k = (k * np.uint64(0x1B873593)) & _M32
        h ^= k
        h = _rotl32(h, 13)
        h = (h * np.uint64(5) + np.uint64(0xE6546B64)) & _M32
    h ^= np.uint64(16)
    h ^= h >> np.uint64(16)
    h = (h * np.uint64(0x85EBCA6B)) & _M32
    h ^= h >> np.uint64(13)
    h = (h * np.uint64(0xC2B2AE35)) & _M32
    h ^= h >> np.uint64(16)
    return np.int64(h % np.uint64(salts))


@leaf()
def mix64(h):  # type: ignore[no-untyped-def]
    """Mix 64 bits (MurmurHash3's fmix64), so that every input bit affects every output bit."""
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    h ^= h >> np.uint64(33)
    return h


@leaf()
def hash_bytes(buf, at, length):  # type: ignore[no-untyped-def]
    """Return a 64-bit hash (FNV-1a, then mix64) of buf[at : at + length]."""
    h = np.uint64(1469598103934665603)
    for i in range(at, at + length):
        h = (h ^ np.uint64(buf[i])) * np.uint64(1099511628211)
    return mix64(h)


@leaf()
def both_hashes(buf, at, length):  # type: ignore[no-untyped-def]
    """Return (`hash_bytes`, another hash). Texts that share the first hash share the second one only by chance.

    The loop computes both side by side, so that neither waits for the other.
    """
    first = np.uint64(1469598103934665603)
    second = np.uint64(length)
    for i in range(at, at + length):
        octet = np.uint64(buf[i])
        first = (first ^ octet) * np.uint64(1099511628211)
        second = (second + octet + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        second ^= second >> np.uint64(29)
    return mix64(first), mix64(second)


@leaf()
def quick_hash(buf, at, length):  # type: ignore[no-untyped-def]
    """Return a 64-bit hash for tables in memory. It reads eight bytes at a time, and differs from process to process.

    Somebody who does not know the process's secret can still make texts that share a hash, because a change of one
    word's highest bit can be undone by a change of the next word. Each 16 bytes of text double their number, no more.
    """
    h = hash_secret() ^ (np.uint64(length) * np.uint64(0x9E3779B97F4A7C15))
    end = at + length
    while end - at >= 8:
        h = (h ^ load_u64(buf, at)) * np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(32)
        at += 8
    rest = np.uint64(0)
    while at < end:
        rest = (rest << np.uint64(8)) | np.uint64(buf[at])
        at += 1
    h = (h ^ rest) * np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(32))
