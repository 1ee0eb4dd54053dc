"""Which text of a client is a device, and how many devices a slice names.

A device is 1 to DEVICE_NAME_BYTES_MAX ASCII letters, digits, spaces, "-", "_" and ".", such as phone or tv. Letters
count in lower case. Any other text, and none, is the unknown device "". Clients may make up as many devices as they
like. Therefore a slice names the DEVICES_MAX devices that have the most views in it. It counts the views by all others
as views by OTHER, and those of events that name OTHER itself too.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from udfs.logic.kernels.key_table import KeyTable, key_slot
from udfs.logic.kernels.numba_compat import leaf
from udfs.logic.minutes.cells import same_bytes

DEVICE_NAME_BYTES_MAX = 32
DEVICES_MAX = 64
OTHER = "other"
# The bits of a code. There is a code for each device that is named, for OTHER and for "".
DEVICE_BITS = 7
assert DEVICES_MAX + 2 <= 1 << DEVICE_BITS

# For each byte of a text the byte that counts, or 0 if no device has it.
_COUNTED = np.zeros(256, np.uint8)
for _letter in b"abcdefghijklmnopqrstuvwxyz0123456789 -_.":
    _COUNTED[_letter] = _letter
    _COUNTED[ord(chr(_letter).upper())] = _letter


@leaf()
def device_number(buf, at, length, slots, arena, arena_used, key_at, key_len, n):  # type: ignore[no-untyped-def]
    """Return a device's number, from 1, in a table of `n` devices (KeyTable), or 0 for the unknown one.

    A new device gets the number n + 1. Its bytes are then at `arena_used`, and the caller moves `n` and `arena_used`
    on. There must be room for it.
    """
    if length < 1 or length > DEVICE_NAME_BYTES_MAX:
        return np.int64(0)
    for i in range(length):
        octet = _COUNTED[buf[at + i]]
        if octet == 0:
            return np.int64(0)
        arena[arena_used + i] = octet
    mask = np.uint64(slots.shape[0] - 1)
    slot = key_slot(arena, arena_used, length, mask)
    while True:
        number = np.int64(slots[slot])
        if number < 0:
            slots[slot] = n
            key_at[n] = arena_used
            key_len[n] = length
            return np.int64(n + 1)
        if key_len[number] == length and same_bytes(arena, key_at[number], arena, arena_used, length):
            return number + 1
        slot = (slot + np.uint64(1)) & mask


def device_names(table: KeyTable, numbers: npt.NDArray[np.int32]) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Return (the devices that a slice names, sorted, with "" and OTHER; the place among them by device_number).

    `numbers` are the numbers of all events. Of devices with as many views the one that came first is named.
    """
    views = np.bincount(numbers, minlength=table.n + 1)[1:]
    named = np.argsort(-views, kind="stable")[:DEVICES_MAX]
    arena, at, length = table.keys()
    texts = [arena[at[one] : at[one] + length[one]].tobytes().decode() for one in named]
    names = sorted({"", OTHER, *texts})
    codes = np.full(table.n + 1, names.index(OTHER), np.int64)
    codes[0] = 0
    for one, text in zip(named, texts, strict=True):
        codes[one + 1] = names.index(text)
    return pa.array(names, pa.string()), codes
