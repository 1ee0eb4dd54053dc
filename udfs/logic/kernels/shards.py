"""Computes the shard of a video without a compiler; `udfs.logic.kernels.key_columns.shards_of` does it in a kernel."""

_U64 = 2**64 - 1


def shard_of(video_id: str, shards: int) -> int:
    """Return the shard that counts a video, by the hash of udfs.logic.kernels.hashing.hash_bytes."""
    h = 1469598103934665603
    for octet in video_id.encode():
        h = ((h ^ octet) * 1099511628211) & _U64
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = ((h ^ (h >> 33)) * factor) & _U64
    return (h ^ (h >> 33)) % shards
