"""Makes answers in JSON, the same way for every service."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from services.openapi import JSON
from services.problems import PROBLEM, Problem

ENCODER = msgspec.json.Encoder()
# No cache keeps such an answer.
NO_STORE = {"Cache-Control": "no-store"}


def json_answer(
    answer: object, status: int = 200, headers: Mapping[str, str] | None = None, media: str = JSON
) -> Response:
    """The answer that is this struct in JSON."""
    return Response(ENCODER.encode(answer), status, headers, media)


def problem_answer(found: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that is this problem. No cache keeps it."""
    return json_answer(found, found.status, {**NO_STORE, **(headers or {})}, PROBLEM)
