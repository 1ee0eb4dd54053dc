"""Puts an answer into the form that a client wants: JSON or CSV, packed or not, or 304. Knows no HTTP library."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from msgspec import UNSET, Struct

from services.json_answer import ENCODER
from services.negotiation import encoding_wanted, media_wanted
from services.openapi import CSV, JSON
from services.packing import IN_THREAD_BYTES_MIN, PACKED_BYTES_MIN, pack
from services.query.api.caching import (
    VARY,
    body_tag,
    cache_control,
    closed_tag,
    growing_fields,
    is_closed,
    is_degraded,
    is_known,
)
from services.query.api.csv_form import CSV_TYPE, csv_bytes
from services.query.counts.spans import Span

OFFERED = (JSON, CSV)
# Of an answer in CSV: what the JSON says beside the rows.
REVISION_FIELD = "View-Counts-History-Revision"
LATE_FIELD = "View-Counts-Late-Through"
WAITING_FIELD = "View-Counts-Waiting"
MISSING_FIELD = "View-Counts-Missing"
NOT_COUNTED_FIELD = "View-Counts-Not-Counted"
LEFT_OUT_FIELD = "View-Counts-Kinds-Left-Out"
EXACT_FIELD = "View-Counts-Exact"
INDEX_FIELD = "View-Counts-Index-Complete"
# Header fields must not grow without a bound.
LISTED_MAX = 16
# A row of CSV takes about as long to write as so many bytes take to pack.
ROW_BYTES = 100


class Wanted(NamedTuple):
    """What a request says of the form of its answer; "" for a header that it does not have."""

    accept: str = ""
    accept_encoding: str = ""
    if_none_match: str = ""
    # POST has no tags.
    is_get: bool = True


class Shown(NamedTuple):
    """An answer as it is sent, with the media type among its header fields."""

    status: int
    headers: dict[str, str]
    body: bytes


async def shown(
    answer: Struct, rows: str, wanted: Wanted, *, question: bytes, span: Span | None, is_public: bool, status: int = 200
) -> Shown:
    """The answer in the form that is wanted. `rows` is the list that CSV shows, and `question` says what was asked."""
    media = media_wanted(wanted.accept, OFFERED)
    encoding = encoding_wanted(wanted.accept_encoding)
    headers = {"Vary": VARY, "Content-Type": CSV_TYPE if media == CSV else JSON}
    if media == CSV:
        headers |= beside_rows(answer)
    closed = is_closed(answer, span)
    if closed or media == CSV:
        headers |= growing_fields(answer)
    parts = (question, media.encode(), encoding.encode())
    is_kept = wanted.is_get and not is_degraded(answer)
    headers["Cache-Control"] = cache_control(is_closed=closed, is_public=is_public) if is_kept else "no-store"
    if closed and is_kept:
        tag = closed_tag(answer, parts)
        if _has(headers, wanted, tag):
            return Shown(304, headers, b"")
    if media == CSV:
        lines = len(getattr(answer, rows)) if rows else 1
        body = await _apart(lines * ROW_BYTES, lambda: csv_bytes(answer, rows))
    else:
        body = ENCODER.encode(answer)
    if is_kept and not closed:
        # With what CSV says beside the rows.
        tag = body_tag(body, (*parts, repr(sorted(headers.items())).encode()))
        if _has(headers, wanted, tag):
            return Shown(304, headers, b"")
    if encoding and len(body) >= PACKED_BYTES_MIN:
        headers["Content-Encoding"] = encoding
        plain = body
        body = await _apart(len(plain), lambda: pack(encoding, plain))
    return Shown(status, headers, body)


def beside_rows(answer: Struct) -> Mapping[str, str]:
    """What CSV has no place for, as structured fields (RFC 9651): which history it is from, what waits and lacks."""
    found: dict[str, str] = {}
    revision, late = getattr(answer, "history_revision", None), getattr(answer, "late_through", None)
    waiting, missing = getattr(answer, "waiting", None), getattr(answer, "missing", ())
    if revision is not None:
        found[REVISION_FIELD] = str(revision)
    if late is not None:
        found[LATE_FIELD] = f'"{late}"'
    if waiting is not None:
        found[WAITING_FIELD] = f'{waiting.events};since="{waiting.since}"'
    if missing:
        found[MISSING_FIELD] = _list([f"{one.start or '..'}/{one.end}" for one in missing])
    return found | _lacking(answer)


def _lacking(answer: Struct) -> dict[str, str]:
    """What some answers do not have all of, though their rows do not show it."""
    found: dict[str, str] = {}
    days, left_out = getattr(answer, "not_counted", ()), getattr(answer, "kinds_left_out", UNSET)
    exact, index = getattr(answer, "exact", None), getattr(answer, "index", None)
    if days:
        found[NOT_COUNTED_FIELD] = _list(days)
    if left_out is not UNSET:
        # Of many videos, all together.
        found[LEFT_OUT_FIELD] = str(sum(left_out.values()) if isinstance(left_out, Mapping) else left_out)
    if exact is not None:
        found[EXACT_FIELD] = _truth(exact)
    if index is not None:
        found[INDEX_FIELD] = _truth(index.complete)
    return found


def _list(texts: Sequence[str]) -> str:
    """The first of these texts, and if there are more, how many there are."""
    found = ", ".join(f'"{one}"' for one in texts[:LISTED_MAX])
    return found + (f", {len(texts)}" if len(texts) > LISTED_MAX else "")


def _truth(value: bool) -> str:
    return "?1" if value else "?0"


def _has(headers: dict[str, str], wanted: Wanted, tag: str) -> bool:
    headers["ETag"] = tag
    if not is_known(wanted.if_none_match, tag):
        return False
    # There is no content that could have one.
    del headers["Content-Type"]
    return True


async def _apart(size: int, work: Callable[[], bytes]) -> bytes:
    """The work's result. If it is about much, it is done in a thread, and the loop does not stand still."""
    return await asyncio.to_thread(work) if size >= IN_THREAD_BYTES_MIN else work()
