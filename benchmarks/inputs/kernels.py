"""The compiled loops of benchmarks.inputs.encoding. There are no annotations, because Numba infers the types."""

# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from numba import njit


@njit(cache=True)
def _long(out, at, value):
    value <<= 1
    while value > 127:
        out[at] = (value & 127) | 128
        value >>= 7
        at += 1
    out[at] = value
    return at + 1


@njit(cache=True)
def _name(out, at, buffer, offsets, index):
    start, end = offsets[index], offsets[index + 1]
    at = _long(out, at, end - start)
    for i in range(start, end):
        out[at] = buffer[i]
        at += 1
    return at


@njit(cache=True)
def encode_plain(
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
):
    """Write the events in `order` to `out`. Event n of that order is out[starts[n] : starts[n + 1]]."""
    at = 0
    for n in range(order.shape[0]):
        i = order[n]
        starts[n] = at
        at = _long(out, at, 16)
        for b in range(16):
            out[at] = ids[i, b]
            at += 1
        at = _name(out, at, video_names, video_offsets, video[i])
        at = _long(out, at, viewed_at_ms[i])
        at = _name(out, at, kind_names, kind_offsets, kind[i])
    starts[order.shape[0]] = at


@njit(cache=True)
def _after_long(data, at):
    while data[at] > 127:
        at += 1
    return at + 1


@njit(cache=True)
def _after_name(data, at):
    length, shift = 0, 0
    while data[at] > 127:
        length |= (data[at] & 127) << shift
        shift += 7
        at += 1
    length |= data[at] << shift
    return at + 1 + (length >> 1)


@njit(cache=True)
def without_devices(out, data, at, events):
    """Write the `events` ViewEvents that begin at data[at] to `out` as VIEWER_EVENTs. Returns where these end."""
    end = 0
    for _ in range(events):
        begin = at
        at = _after_name(data, at + 16)
        at = _after_long(data, at)
        at = _after_name(data, at)
        for _ in range(2):
            at = _after_name(data, at + 1) if data[at] else at + 1
        end = _long(out, end, 16)
        out[end : end + at - begin] = data[begin:at]
        end += at - begin
        at = _after_name(data, at + 1) if data[at] else at + 1
    return end
