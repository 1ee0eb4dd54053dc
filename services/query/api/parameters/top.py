"""Which list of videos is asked for."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from schemas.limits import ABOUT_BYTES_MAX
from services.parameters import ParameterError
from services.query.api.parameters.choices import number, one_of
from services.query.api.parameters.names import check_name, read_kind
from services.query.api.parameters.series import STEPS
from services.query.api.parameters.times import EARLIEST, LATEST, floor, instant
from services.query.counts.top import ClosedTopQuestion, TopQuestion

SPANS = ("hour", "minute", "trending")
DEFAULT_SPAN = "hour"
# The spans of the lists that the rollup makes: an hour of the clock, and a day.
CLOSED_SPANS = {"clock_hour": "hour", "day": "day"}
EVERYWHERE = "*"
TOP_MAX = 100
DEFAULT_LIMIT = 10


def read_top(query: Mapping[str, str]) -> TopQuestion | ClosedTopQuestion:
    """The list that `kind`, `span`, `country`, `channel`, `limit`, `at` and `cursor` ask for."""
    span = one_of(query, "span", (*SPANS, *CLOSED_SPANS), DEFAULT_SPAN)
    country = query.get("country", EVERYWHERE)
    if country != EVERYWHERE and not (len(country) == 2 and country.isascii() and country.isalpha()):
        raise ParameterError("country", country, f"must be two letters, such as DE, or {EVERYWHERE}")
    channel = query.get("channel")
    if channel is not None:
        check_name("channel", channel, ABOUT_BYTES_MAX)
        if span != "day":
            raise ParameterError("channel", channel, f"goes with span=day, not with {span}")
        if country != EVERYWHERE:
            raise ParameterError("country", country, "cannot be combined with channel: a channel has no such lists")
    if country != EVERYWHERE and span in SPANS:
        raise ParameterError("country", country, f"goes with span={' or span='.join(CLOSED_SPANS)}, not with {span}")
    entries = number(query, "limit", TOP_MAX, DEFAULT_LIMIT)
    step = STEPS[CLOSED_SPANS.get(span, "minute")]
    at = floor(instant("at", query["at"]), step) if "at" in query else None
    kind = read_kind(query)
    if span in CLOSED_SPANS:
        skip, revision = 0, None
        if "cursor" in query:
            if at is not None:
                raise ParameterError("at", query["at"], "cannot be combined with cursor, which knows the list")
            skip, at, revision = _read_cursor(query["cursor"])
        return ClosedTopQuestion(kind, span, country.upper(), entries, at, channel, skip, revision)
    if "cursor" in query:
        raise ParameterError(
            "cursor", query["cursor"], f"goes with span={' or span='.join(CLOSED_SPANS)}, not with {span}"
        )
    return TopQuestion(kind, span, entries, at)


class _Cursor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where the next page of a list begins: after `skip` places, in the list of `start` of a revision of history."""

    skip: Annotated[int, Meta(ge=1, lt=TOP_MAX)]
    start_s: Annotated[int, Meta(ge=int(EARLIEST.timestamp()), le=int(LATEST.timestamp()))]
    revision: Annotated[int, Meta(ge=0)]


def cursor_text(skip: int, start: datetime, revision: int) -> str:
    """The cursor of the page after `skip` places of the list of `start`."""
    content = msgspec.json.encode(_Cursor(skip, int(start.timestamp()), revision))
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[int, datetime, int]:
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found = msgspec.json.decode(content, type=_Cursor)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ParameterError("cursor", text, "must be `next` of the page before") from error
    return found.skip, datetime.fromtimestamp(found.start_s, UTC), found.revision


def read_live_top(query: Mapping[str, str]) -> TopQuestion:
    """The newest list of the stream that `kind`, `span` and `limit` ask for."""
    question = read_top(query)
    if isinstance(question, ClosedTopQuestion):
        raise ParameterError("span", question.span, f"must be one of {', '.join(SPANS)}: others change once an hour")
    return question
