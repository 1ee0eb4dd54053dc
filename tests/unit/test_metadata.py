"""Records of the metadata topic: read, or refused with a reason; whatever the bytes say, nothing is raised."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import registry
from schemas.limits import ABOUT_BYTES_MAX
from udfs.logic.wire.keyed_records import Keyed, Refusal
from udfs.logic.wire.metadata import decode_metadata, read_metadata

KNOWN = {"video_id": "A", "title": "Títle ✓", "channel_id": "c1", "channel_name": "Channel", "created_at": 1_700_000}


def value(**changes: object) -> bytes:
    return registry.encode("VideoMetadata", {**KNOWN, **changes})


def test_an_about_is_what_follows_the_video_id_as_it_came() -> None:
    found = read_metadata(b"A", value())
    assert isinstance(found, Keyed)
    assert found.key == "A"
    assert found.rest is not None
    assert value().endswith(found.rest)
    assert decode_metadata(found.rest) == ("Títle ✓".encode(), b"c1", b"Channel", 1_700_000)


def test_a_tombstone_is_nothing_known() -> None:
    assert read_metadata("vidéo".encode(), None) == Keyed("vidéo", None)


@pytest.mark.parametrize(
    ("key", "record", "refusal"),
    [
        (None, value(), Refusal.NO_KEY),
        (b"", value(), Refusal.NO_KEY),
        (b"B", value(), Refusal.KEY_DIFFERS_FROM_VALUE),
        (b"A", b"", Refusal.UNKNOWN_SCHEMA),
        (b"A", b"\xc3\x01" + bytes(20), Refusal.UNKNOWN_SCHEMA),
        (b"A", value()[:-1], Refusal.UNREADABLE),
        (b"A", value() + b"x", Refusal.UNREADABLE),
        (b"A", value(title="x").replace(b"\x02x", b"\x02\xff"), Refusal.UNREADABLE),
        (b"\xff", None, Refusal.UNREADABLE),
        (b"A", value(video_id=""), Refusal.KEY_DIFFERS_FROM_VALUE),
        (b"v" * 65, value(video_id="v" * 65), Refusal.KEY_TOO_LONG),
        (b"A", value(title="t" * ABOUT_BYTES_MAX), Refusal.TOO_LONG),
        (b"A", value(created_at=1 << 60), Refusal.TIME_OUT_OF_RANGE),
    ],
)
def test_a_bad_record_is_refused_with_its_reason(key: bytes | None, record: bytes | None, refusal: Refusal) -> None:
    assert read_metadata(key, record) is refusal


@given(st.binary(max_size=60), st.sampled_from([b"", registry.prefix("VideoMetadata")]))
def test_no_bytes_raise(rest: bytes, prefix: bytes) -> None:
    assert isinstance(read_metadata(b"A", prefix + rest), Keyed | Refusal)
