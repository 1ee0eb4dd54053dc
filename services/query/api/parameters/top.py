"""Which list of videos is asked for."""

from collections.abc import Mapping

from schemas.values import ValueFormError, whole_number
from services.parameters import ParameterError
from services.query.api.parameters.names import read_kind
from services.query.api.parameters.series import STEPS
from services.query.api.parameters.times import floor, instant
from services.query.counts.top import ClosedTopQuestion, TopQuestion

SPANS = ("hour", "minute", "trending")
DEFAULT_SPAN = "hour"
# The spans of the lists that the rollup makes: an hour of the clock, and a day.
CLOSED_SPANS = {"clock_hour": "hour", "day": "day"}
EVERYWHERE = "*"
TOP_MAX = 100
DEFAULT_LIMIT = 10


def read_top(query: Mapping[str, str]) -> TopQuestion | ClosedTopQuestion:
    """The list that `kind`, `span`, `country`, `limit` and `at` ask for."""
    span = query.get("span", DEFAULT_SPAN)
    if span not in SPANS and span not in CLOSED_SPANS:
        raise ParameterError("span", span, f"must be one of {', '.join((*SPANS, *CLOSED_SPANS))}")
    country = query.get("country", EVERYWHERE)
    if country != EVERYWHERE and not (len(country) == 2 and country.isascii() and country.isalpha()):
        raise ParameterError("country", country, f"must be two letters, such as DE, or {EVERYWHERE}")
    if country != EVERYWHERE and span in SPANS:
        raise ParameterError("country", country, f"goes with span={' or span='.join(CLOSED_SPANS)}, not with {span}")
    limit = query.get("limit", str(DEFAULT_LIMIT))
    try:
        entries = whole_number(limit)
    except ValueFormError as error:
        raise ParameterError("limit", limit, str(error)) from error
    if not 1 <= entries <= TOP_MAX:
        raise ParameterError("limit", limit, f"must be 1 to {TOP_MAX}")
    step = STEPS[CLOSED_SPANS.get(span, "minute")]
    at = floor(instant("at", query["at"]), step) if "at" in query else None
    kind = read_kind(query)
    if span in CLOSED_SPANS:
        return ClosedTopQuestion(kind, span, country.upper(), entries, at)
    return TopQuestion(kind, span, entries, at)


def read_live_top(query: Mapping[str, str]) -> TopQuestion:
    """The newest list of the stream that `kind`, `span` and `limit` ask for."""
    question = read_top(query)
    if isinstance(question, ClosedTopQuestion):
        raise ParameterError("span", question.span, f"must be one of {', '.join(SPANS)}: others change once an hour")
    return question
