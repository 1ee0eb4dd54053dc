"""Bodies in gzip and zstd: unpacked within the bound, refused with a sentence otherwise."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from backports import zstd

from services.ingest.encodings import checked_encoding, unpack
from services.refused import RefusedError

BODY = b'{"events": [{"video_id": "A"}]}'
MIB = 1 << 20
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress, "identity": bytes}


@pytest.mark.parametrize("encoding", PACK)
def test_a_body_comes_out_as_it_went_in(encoding: str) -> None:
    assert unpack(encoding, PACK[encoding](BODY), bytes_max=len(BODY)) == BODY
    assert unpack(encoding, b"", bytes_max=0) == b""


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_several_members_are_one_body(encoding: str) -> None:
    packed = PACK[encoding](BODY[:9]) + PACK[encoding](BODY[9:])
    assert unpack(encoding, packed, bytes_max=len(BODY)) == BODY
    with pytest.raises(RefusedError) as refused:
        unpack(encoding, packed, bytes_max=len(BODY) - 1)
    assert refused.value.status == 413


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_many_empty_members_are_not_walked_through(encoding: str) -> None:
    empty = PACK[encoding](b"")
    assert unpack(encoding, empty * 63 + PACK[encoding](BODY), bytes_max=MIB) == BODY
    with pytest.raises(RefusedError) as refused:
        unpack(encoding, empty * 100_000, bytes_max=MIB)
    assert (refused.value.status, encoding in refused.value.error) == (400, True)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_stops_at_the_bound(encoding: str) -> None:
    bomb = PACK[encoding](bytes(64 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError) as refused:
            unpack(encoding, bomb, bytes_max=MIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (refused.value.status, refused.value.error) == (
        413,
        "the body unpacks to more than 1048576 bytes; send it in parts",
    )
    assert peak < 8 * MIB


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("harm", ["cut", "plain", "tail"])
def test_a_broken_body_is_refused(encoding: str, harm: str) -> None:
    whole = PACK[encoding](BODY)
    body = {"cut": whole[:-3], "plain": BODY, "tail": whole + b"more"}[harm]
    with pytest.raises(RefusedError) as refused:
        unpack(encoding, body, bytes_max=MIB)
    assert refused.value.status == 400
    assert encoding in refused.value.error


def test_a_frame_with_a_window_of_128_mib_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=options)
    with pytest.raises(RefusedError) as refused:
        unpack("zstd", compressor.compress(BODY) + compressor.flush(), bytes_max=MIB)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("header", "encoding"), [("", "identity"), ("Identity", "identity"), ("GZIP ", "gzip"), ("x-gzip", "gzip")]
)
def test_the_names_of_encodings(header: str, encoding: str) -> None:
    assert checked_encoding(header) == encoding


@pytest.mark.parametrize("header", ["deflate", "br", "gzip, zstd", "x" * 500])
def test_another_encoding_is_named_with_the_remedy(header: str) -> None:
    with pytest.raises(RefusedError) as refused:
        checked_encoding(header)
    assert refused.value.status == 415
    assert header[:80] in refused.value.error
    assert "gzip" in refused.value.error
    assert len(refused.value.error) < 200


def test_deflate_has_two_formats() -> None:
    # Why it is refused: the bytes of one are an error for the other.
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = raw.compress(BODY) + raw.flush()
    with pytest.raises(zlib.error):
        zlib.decompress(body)
