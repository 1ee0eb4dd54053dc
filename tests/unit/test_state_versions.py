"""State of every version of dedup is read, and the versions that this code writes have a golden savepoint."""

import re
import struct
from pathlib import Path

import pytest

from tests.support.random_streams import NOW_MS, RULES
from udfs.logic.stream import dedup, window
from udfs.logic.stream.dedup import SaltDedup
from udfs.logic.stream.ledger import Tally

SAVEPOINTS = Path(__file__).parents[1] / "golden" / "savepoints"
# Versions of dedup's header, and how many numbers follow the minute in each of their tallies. Append only.
FATES = {1: 9, 2: 10}


def header(version: int, tallies: int) -> bytes:
    """As each version writes it, byte by byte."""
    head = struct.pack("<Bqqq", version, NOW_MS, 7, NOW_MS // 60_000)
    fates = FATES[version]
    return head + b"".join(struct.pack(f"<{1 + fates}q", NOW_MS // 60_000 + n, *[n] * fates) for n in range(tallies))


def test_no_version_of_dedup_is_left_out() -> None:
    assert list(FATES) == list(range(1, dedup.VERSION + 1))


@pytest.mark.parametrize("version", FATES)
@pytest.mark.parametrize("tallies", [0, 1, 4])
def test_dedup_reads_every_version(version: int, tallies: int) -> None:
    restored = SaltDedup(0, RULES)
    restored.restore(header(version, tallies), [], [])
    assert (restored.append_ms, restored.sequence, restored.sent_minute) == (NOW_MS, 7, NOW_MS // 60_000)
    assert restored.tallies == [Tally(NOW_MS // 60_000 + n, *[n] * FATES[version]) for n in range(tallies)]
    # And what it writes is read again.
    again = SaltDedup(0, RULES)
    again.restore(restored.header(), [], [])
    assert again.tallies == restored.tallies


def test_a_version_of_later_code_is_refused() -> None:
    later = bytes([dedup.VERSION + 1]) + header(dedup.VERSION, 0)[1:]
    with pytest.raises(ValueError, match="use newer code"):
        SaltDedup(0, RULES).restore(later, [], [])


@pytest.mark.parametrize(("stage", "version"), [("dedup", dedup.VERSION), ("window", window.VERSION)])
def test_what_this_code_writes_has_a_golden_savepoint(stage: str, version: int) -> None:
    names = sorted(path.name for path in SAVEPOINTS.iterdir())
    found = {int(number) for name in names for number in re.findall(rf"{stage}-(\d+)", name)}
    assert version in found, f"no golden savepoint has version {version} of {stage}: tests/golden/make_savepoint.py"
