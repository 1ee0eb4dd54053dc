"""Whoever knows the code, and names what is counted, cannot make names share a place in a table."""

import subprocess
import sys

import numpy as np
import pytest

from udfs.logic.kernels.hashing import mix64, quick_hash
from udfs.logic.kernels.id_index import slot_of
from udfs.logic.kernels.key_table import key_slot

NAMES = 2000
PLACES = 1 << 30
# Of so many names in so many places, fewer than one pair is expected to meet.
APART = NAMES - 5
PRINT_PLACES = """
import numpy as np
from udfs.logic.kernels.hashing import quick_hash
from udfs.logic.kernels.id_index import slot_of
print(slot_of(np.uint64(1), np.uint64(2), np.uint64(1 << 31)), quick_hash(np.frombuffer(b"viewer", np.uint8), 0, 6))
"""


@pytest.mark.slow
def test_a_name_has_another_place_in_each_process() -> None:
    def places() -> str:
        return subprocess.run([sys.executable, "-c", PRINT_PLACES], capture_output=True, text=True, check=True).stdout

    first, second = places().split(), places().split()
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_in_one_process_it_keeps_its_place() -> None:
    name = np.frombuffer(b"\x04viewvideo", np.uint8)
    assert len({key_slot(name, 0, len(name), np.uint64(PLACES - 1)) for _ in range(3)}) == 1


def test_ids_that_share_a_place_without_the_secret_do_not_with_it() -> None:
    """The lower half takes away what mixing makes of the higher one."""
    highs = [np.uint64(n) for n in range(1, NAMES + 1)]
    ids = [(np.uint64(12345) ^ mix64(high), high) for high in highs]
    assert len({mix64(low ^ mix64(high)) for low, high in ids}) == 1
    assert len({slot_of(low, high, np.uint64(PLACES)) for low, high in ids}) > APART


def test_kinds_of_equal_length_of_one_video_have_places_of_their_own() -> None:
    keys = [np.frombuffer(b"\x06" + f"{n:06}".encode() + b"video", np.uint8) for n in range(NAMES)]
    assert len({key_slot(key, 0, len(key), np.uint64(PLACES - 1)) for key in keys}) > APART
    # Where kinds are summed, no video is there.
    keys = [key[:7] for key in keys]
    assert len({key_slot(key, 0, len(key), np.uint64(PLACES - 1)) for key in keys}) > APART


def test_texts_hash_alike_wherever_they_lie() -> None:
    text = np.frombuffer(b"..a text of 20 bytes..", np.uint8)
    assert quick_hash(text, 2, 18) == quick_hash(text[2:20].copy(), 0, 18)
