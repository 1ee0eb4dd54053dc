"""Tells in kernels whether a viewer_id is a text of those who know no viewer (schemas.viewers)."""

import numpy as np

from schemas.viewers import NO_VIEWERS
from udfs.logic.kernels.numba_compat import leaf

_NOBODY_LEN = np.array([len(text) for text in NO_VIEWERS], np.int64)
_NOBODY = np.zeros((len(NO_VIEWERS), max(map(len, NO_VIEWERS))), np.uint8)
for _row, _text in zip(_NOBODY, NO_VIEWERS, strict=True):
    _row[: len(_text)] = np.frombuffer(_text.encode(), np.uint8)


@leaf()
def is_nobody(buf, at, length):  # type: ignore[no-untyped-def]
    """Return whether a viewer_id names no viewer: it is empty, or one of NO_VIEWERS in upper or lower case."""
    if length == 0:
        return True
    for i in range(_NOBODY_LEN.shape[0]):
        if _NOBODY_LEN[i] != length:
            continue
        j = 0
        while j < length:
            letter = buf[at + j]
            if 65 <= letter <= 90:
                letter |= 32
            if letter != _NOBODY[i, j]:
                break
            j += 1
        if j == length:
            return True
    return False
