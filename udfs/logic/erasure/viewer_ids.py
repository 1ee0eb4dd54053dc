"""Finds the viewer_id that belongs to a viewer's hash, by looking for it in events."""

from collections.abc import Set

import numpy as np

from udfs.logic.kernels.hashing import both_hashes
from udfs.logic.kernels.numba_compat import njit
from udfs.logic.wire.batch_scan import VIEWER_AT, VIEWER_LEN, Fault, Unreadable, scan


@njit(cache=True)
def _hashes(buf, spans):  # type: ignore[no-untyped-def]
    """Return the hash of each event's viewer (udfs.logic.slices.audience), or zeros if the event has no viewer."""
    found = np.zeros((spans.shape[0], 2), np.uint64)
    for i in range(spans.shape[0]):
        if spans[i, VIEWER_LEN]:
            found[i, 0], found[i, 1] = both_hashes(buf, spans[i, VIEWER_AT], spans[i, VIEWER_LEN])
    return found


def viewer_ids(key: bytes | None, value: bytes | None, salts: int, wanted: Set[bytes]) -> dict[bytes, str]:
    """Return the ids, by hash, of the wanted viewers who have an event in this record of the events topic."""
    buf = np.frombuffer(value or b"", np.uint8)
    batch = scan(buf, int.from_bytes(key or b"", "big"), salts)
    if isinstance(batch, Unreadable):
        return {}
    hashes = _hashes(buf, batch.spans)
    firsts = np.frombuffer(b"".join(wanted), np.uint64)[::2]
    found = {}
    for at in np.nonzero(np.isin(hashes[:, 0], firsts) & (batch.faults == Fault.NONE))[0]:
        if (hashed := hashes[at].tobytes()) in wanted:
            begin = batch.spans[at, VIEWER_AT]
            found[hashed] = buf[begin : begin + batch.spans[at, VIEWER_LEN]].tobytes().decode()
    return found
