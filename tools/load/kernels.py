"""The compiled loops of the load generator: they encode events, and judge them by the rules of counting.

There are no annotations, because Numba infers the types.
"""

# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import numpy as np
from numba import njit

MINUTE_MS = 60_000
COUNTED, DUPLICATE, LATE, INVALID, DEAD_LETTERED = range(5)
NEVER = -(1 << 30)


@njit(cache=True)
def _name(out, at, buffer, offsets, index):
    start, end = offsets[index], offsets[index + 1]
    length = (end - start) * 2
    while length > 127:
        out[at] = (length & 127) | 128
        length >>= 7
        at += 1
    out[at] = length
    at += 1
    for i in range(start, end):
        out[at] = buffer[i]
        at += 1
    return at


@njit(cache=True)
def encode(
    out,
    starts,
    order,
    ids,
    video,
    viewed_at_ms,
    kind,
    video_names,
    video_offsets,
    kind_names,
    kind_offsets,
    country_names,
    country_offsets,
    device_names,
    device_offsets,
):
    """Write the events in `order` to `out`. Event n of that order is out[starts[n] : starts[n + 1]]."""
    at = 0
    for n in range(order.shape[0]):
        i = order[n]
        starts[n] = at
        for b in range(16):
            out[at] = ids[i, b]
            at += 1
        at = _name(out, at, video_names, video_offsets, video[i])
        zigzag = viewed_at_ms[i] << 1
        while zigzag > 127:
            out[at] = (zigzag & 127) | 128
            zigzag >>= 7
            at += 1
        out[at] = zigzag
        at += 1
        at = _name(out, at, kind_names, kind_offsets, kind[i])
        # Some events have optional fields. They follow from the id, so that a repeat has the same ones.
        chance = ids[i, 5]
        if chance & 3:
            out[at] = 2
            out[at + 1] = 16
            at += 2
            viewer = np.int64(ids[i, 6]) << 8 | ids[i, 7]
            for _ in range(8):
                out[at] = 97 + viewer % 26
                viewer //= 26
                at += 1
        else:
            out[at] = 0
            at += 1
        if chance & 4:
            out[at] = 2
            at = _name(out, at + 1, country_names, country_offsets, chance >> 5)
        else:
            out[at] = 0
            at += 1
        if chance & 8:
            out[at] = 2
            at = _name(out, at + 1, device_names, device_offsets, chance >> 6)
        else:
            out[at] = 0
            at += 1
    starts[order.shape[0]] = at


@njit(cache=True)
def judge(fates, origin, viewed_at_ms, bad, append_ms, first_generation, lateness_ms, future_skew_ms, generation_ms):
    """Write the fate of each event to `fates`. Reads and updates `first_generation`, which is by origin."""
    for i in range(origin.shape[0]):
        append = append_ms[i]
        generation = append // generation_ms
        if bad[i]:
            fates[i] = DEAD_LETTERED
        elif viewed_at_ms[i] > append + future_skew_ms:
            fates[i] = INVALID
        elif (viewed_at_ms[i] // MINUTE_MS + 1) * MINUTE_MS + lateness_ms <= append:
            fates[i] = LATE
        elif generation - first_generation[origin[i]] <= 1:
            fates[i] = DUPLICATE
        else:
            fates[i] = COUNTED
            first_generation[origin[i]] = generation
