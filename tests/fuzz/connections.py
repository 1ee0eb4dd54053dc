"""Requests that nobody would send: the bytes of whole connections, made by hypothesis from what services look for."""

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.decoders import DECODERS

HOST = (b"Host", b"localhost")
METHODS = st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "CONNECT", "PRI"])
# What a header or a parameter may have in it that a service stumbles over.
ODD = st.sampled_from(
    [
        *("", " ", "\t", "0", "-1", "1e9", "9" * 40, "null", "undefined", "NaN", "*", ",", ";;", "=", '"', "%", "%00"),
        *("2026-03-20T15:30:00Z", "2026-03-20", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "true", "false"),
        *(
            "Asia/Kathmandu",
            "../../etc/passwd",
            "a" * 300,
            "b" * 3000,
            "é",
            "\udcff",
            "::1",
            "[::1",
            "1.2.3.4",
            "http://[",
            "A",
        ),
        *(
            "b" * 3000,
            "localhost",
            "http://localhost",
            "gzip",
            "zstd",
            "gzip, zstd",
            "x-gzip",
            "vc_admin_abcdef_" + "0" * 32,
        ),
    ]
)
LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=24)
VALUES = ODD | LATIN
HEADERS = st.sampled_from(
    [
        *("Host", "Origin", "X-Forwarded-For", "Forwarded", "Authorization", "Content-Type", "Content-Encoding"),
        *("Idempotency-Key", "Batch-Ids", "User-Agent", "Expect", "Connection", "Upgrade", "Accept-Encoding", "Range"),
        *("Access-Control-Request-Method", "Access-Control-Request-Headers", "If-None-Match", "Cookie"),
    ]
)
WRONG_SIZES = ("-1", "+1", "1_0", "9" * 30, "", "0x1", "7", "٣")
MEDIA = {
    "application/json": "json",
    "text/plain": "json",
    "application/x-ndjson": "ndjson",
    "application/avro": "avro",
    "application/cloudevents+json": "cloud_event",
    "application/cloudevents-batch+json": "cloud_events",
}


def _latin(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _quoted(text: str) -> str:
    """Every byte as %XX, so that it arrives whatever it is."""
    return "".join(f"%{octet:02X}" for octet in text.encode("utf-8", "surrogateescape"))


@st.composite
def _lines(draw: st.DrawFn, description: dict[str, Any]) -> str:
    """The line of a request, mostly with a method that its path knows."""
    path: str = draw(st.sampled_from(sorted(description["paths"])))
    (known_method,) = description["paths"][path]
    method = draw(METHODS) if draw(st.integers(0, 3)) == 0 else known_method.upper()
    return f"{method} {draw(_targets(path, description))} HTTP/1.{draw(st.sampled_from('110'))}"


@st.composite
def _targets(draw: st.DrawFn, path: str, description: dict[str, Any]) -> str:
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + _quoted(draw(VALUES | st.text(max_size=8))) + rest.partition("}")[2]
    if draw(st.integers(0, 9)) == 0:
        path += draw(st.sampled_from(["/", "//", "/../x", "%2F", "%", "%zz", "\xff", "?", "#x"]))
    known = sorted(_parameters(description))
    names = st.sampled_from(known) | ODD if known else ODD
    pairs = draw(st.lists(st.tuples(names, VALUES | st.text(max_size=8)), max_size=3))
    query = "&".join(f"{_quoted(name) if name not in known else name}={_quoted(value)}" for name, value in pairs)
    return f"{path}?{query}" if pairs else path


def _parameters(description: dict[str, Any]) -> Iterator[str]:
    for methods in description["paths"].values():
        for operation in methods.values():
            yield from (one["name"] for one in operation.get("parameters", ()) if one["in"] == "query")


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """(media type, body): a seed or a packed one, with some bytes changed."""
    media = draw(st.sampled_from(sorted(MEDIA)))
    seeds = list(DECODERS[MEDIA[media]].seeds()) + list(DECODERS["encodings"].seeds())
    body = bytearray(draw(st.sampled_from(seeds)))
    for place, octet in draw(st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 255)), max_size=2)):
        if body:
            body[place % len(body)] = octet
    return media, bytes(body)


@st.composite
def connections(draw: st.DrawFn, description: dict[str, Any], key: str) -> list[bytes]:
    """The packets of one connection with one request."""
    headers = [HOST]
    if key and draw(st.integers(0, 4)):
        headers.append((b"Authorization", f"Bearer {key}".encode()))
    body = b""
    if draw(st.booleans()):
        media, body = draw(_bodies())
        headers.append((b"Content-Type", media.encode()))
    for name, value in draw(st.lists(st.tuples(HEADERS, VALUES), max_size=3)):
        headers.append((_latin(name), _latin(value)))
    how = draw(st.sampled_from(["length", "length", "length", "chunked", "wrong", "none"]))
    if how in ("length", "wrong"):
        size = (
            str(len(body)) if how == "length" else draw(st.sampled_from(["-1", "+1", "1_0", "9" * 30, "", "0x1", "7"]))
        )
        headers.append((b"Content-Length", size.encode()))
    if how == "chunked":
        headers.append((b"Transfer-Encoding", b"chunked"))
        trailer = draw(st.sampled_from([b"", b"X-Forwarded-For: 1.2.3.4\r\n", b"a: " + b"b" * 3000 + b"\r\n"]))
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        body = chunk + b"0\r\n" + trailer + b"\r\n"
    line = draw(_lines(description))
    whole = b"\r\n".join([_latin(line), *(name + b": " + value for name, value in headers), b"", body])
    cut = draw(st.integers(0, 3)) == 0
    at = draw(st.integers(0, len(whole))) if cut else len(whole)
    return [part for part in (whole[:at], whole[at:] if draw(st.booleans()) else b"") if part]
