"""Finds who viewed what on a day: each viewer of a video and kind once, with the number of their views."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from udfs.logic.kernels.hash_columns import halves_of
from udfs.logic.kernels.numba_compat import njit

# A code is one number, not below 0, of video, kind and as much of a viewer's hash as there is room for.
_CODE_BITS = 63


class ViewerDays(NamedTuple):
    """Rows sorted by name, then viewer. A name is (video_id, kind), and has each viewer once.

    `names` are the names, sorted. For each row, `name` is the index of its name, `viewer` is the hash of
    udfs.logic.slices.audience (uint64[n, 2]), and `views` is the number of views.
    """

    names: pa.Table
    name: npt.NDArray[np.int64]
    viewer: npt.NDArray[np.uint64]
    views: npt.NDArray[np.int64]


def viewer_days(tables: Iterable[pa.Table]) -> ViewerDays:
    """Sum the viewers (udfs.logic.slices.audience) of all slices of a day."""
    columns = [tuple(table[name] for name in ("video_id", "kind", "viewer", "views")) for table in tables]
    if not columns:
        nothing = pa.table({"video_id": pa.array([], pa.string()), "kind": pa.array([], pa.string())})
        return ViewerDays(nothing, np.empty(0, np.int64), np.empty((0, 2), np.uint64), np.empty(0, np.int64))
    of_videos, of_kinds, of_viewers, of_views = zip(*columns, strict=True)
    videos, video = _ranked(of_videos)
    kinds, kind = _ranked(of_kinds)
    viewers = np.concatenate([halves_of(column) for column in of_viewers])
    views = np.concatenate([column.to_numpy() for column in of_views])
    room = _CODE_BITS - (len(videos) * len(kinds)).bit_length()
    codes = _codes(video, kind, len(kinds), viewers, room)
    places, sums = _distinct(np.argsort(codes), codes, viewers, views)
    # Rows are sorted by name, so a new name begins where it differs from the one before.
    names = codes[places] >> room
    begins = np.ones(len(names), bool)
    begins[1:] = names[1:] != names[:-1]
    found = names[begins]
    names_found = {
        "video_id": videos.take(pa.array(found // len(kinds))),
        "kind": kinds.take(pa.array(found % len(kinds))),
    }
    return ViewerDays(pa.table(names_found), np.cumsum(begins) - 1, viewers[places], sums)


@njit(cache=True)
def _codes(video, kind, kinds, viewers, room):  # type: ignore[no-untyped-def]
    """Return codes: video, kind and the beginning of a viewer's hash, in this order, in one number."""
    codes = np.empty(video.shape[0], np.int64)
    for i in range(video.shape[0]):
        name = np.int64(video[i]) * kinds + kind[i]
        codes[i] = name << room | np.int64(viewers[i, 0] >> np.uint64(64 - room))
    return codes


@njit(cache=True)
def _distinct(order, codes, viewers, views):  # type: ignore[no-untyped-def]
    """Return (places, sums of views) of each different (code, viewer), sorted. `order` sorts the codes."""
    places = np.empty(order.shape[0], np.int64)
    sums = np.empty(order.shape[0], np.int64)
    n = 0
    # Where the entries of the current code begin. A code has several only if viewers share the beginning of their hash.
    begin = 0
    for i in order:
        if n > 0 and codes[places[n - 1]] != codes[i]:
            begin = n
        at = begin
        while at < n and (
            viewers[places[at], 0] < viewers[i, 0]
            or (viewers[places[at], 0] == viewers[i, 0] and viewers[places[at], 1] < viewers[i, 1])
        ):
            at += 1
        if at < n and viewers[places[at], 0] == viewers[i, 0] and viewers[places[at], 1] == viewers[i, 1]:
            sums[at] += views[i]
            continue
        for later in range(n, at, -1):
            places[later] = places[later - 1]
            sums[later] = sums[later - 1]
        places[at] = i
        sums[at] = views[i]
        n += 1
    return places[:n], sums[:n]


def _ranked(columns: Sequence[pa.ChunkedArray]) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """Return (the different texts, sorted; for each row the index of its text among them)."""
    chunks = [chunk for column in columns for chunk in column.chunks]
    whole = pa.chunked_array(
        [chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode() for chunk in chunks]
    ).unify_dictionaries()
    if not whole.num_chunks:
        return pa.array([], pa.string()), np.empty(0, np.int32)
    texts = whole.chunk(0).dictionary
    order = pc.sort_indices(texts)
    rank = np.empty(len(texts), np.int32)
    rank[order.to_numpy()] = np.arange(len(texts), dtype=np.int32)
    return texts.take(order), rank[np.concatenate([chunk.indices.to_numpy() for chunk in whole.chunks])]
