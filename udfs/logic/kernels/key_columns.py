"""Turns the keys of cells (udfs.logic.minutes.cells) into columns of Arrow: their kinds and their videos."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from udfs.logic.kernels.hashing import hash_bytes
from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.numba_compat import njit


@njit(cache=True)
def _split_keys(buf, key_at, key_len):  # type: ignore[no-untyped-def]
    """Return (ends of the kinds, bytes of the kinds, ends of the videos, bytes of the videos); ends begin with a 0."""
    n = key_at.shape[0]
    kind_ends = np.zeros(n + 1, np.int32)
    video_ends = np.zeros(n + 1, np.int32)
    for i in range(n):
        kind_len = np.int64(buf[key_at[i]])
        kind_ends[i + 1] = kind_ends[i] + kind_len
        video_ends[i + 1] = video_ends[i] + key_len[i] - 1 - kind_len
    kinds = np.empty(kind_ends[n], np.uint8)
    videos = np.empty(video_ends[n], np.uint8)
    for i in range(n):
        at = key_at[i] + 1
        for j in range(kind_ends[i], kind_ends[i + 1]):
            kinds[j] = buf[at]
            at += 1
        for j in range(video_ends[i], video_ends[i + 1]):
            videos[j] = buf[at]
            at += 1
    return kind_ends, kinds, video_ends, videos


def key_columns(buf: Bytes, key_at: npt.NDArray[np.int64], key_len: npt.NDArray[np.int64]) -> tuple[pa.Array, pa.Array]:
    """Return (kinds, videos), columns of strings, of the keys buf[key_at[i] :][: key_len[i]]."""
    kind_ends, kinds, video_ends, videos = _split_keys(buf, key_at, key_len)
    return _strings(kind_ends, kinds), _strings(video_ends, videos)


def _strings(ends: npt.NDArray[np.int32], content: Bytes) -> pa.Array:
    return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(content))


def shards_of(videos: pa.Array, shards: int) -> npt.NDArray[np.int64]:
    """Return the shard of each video of a column of strings."""
    ends = np.frombuffer(videos.buffers()[1], np.int32)[videos.offset : videos.offset + len(videos) + 1]
    # A column without text may have no buffer.
    found: npt.NDArray[np.int64] = _shards_of(np.frombuffer(videos.buffers()[2] or b"", np.uint8), ends, shards)
    return found


@njit(cache=True)
def _shards_of(buf, ends, shards):  # type: ignore[no-untyped-def]
    found = np.empty(ends.shape[0] - 1, np.int64)
    for i in range(found.shape[0]):
        found[i] = np.int64(hash_bytes(buf, ends[i], ends[i + 1] - ends[i]) % np.uint64(shards))
    return found
