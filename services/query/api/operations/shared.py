"""Parameters and refusals that many operations have."""

from collections.abc import Iterable
from typing import Any

from schemas.kinds import DEFAULT_KIND
from services.openapi import LIMITS, Answer, Parameter
from services.problems import PROBLEM, Problem
from services.query.api.last_answers import AGE_FIELD, DEGRADED_FIELD
from services.query.api.parameters.kinds import KINDS_MAX
from services.query.api.parameters.names import ALL_KINDS
from services.query.counts.trust import AUDIT_FIELD, STATUS_FIELD


def choice(names: Iterable[str], default: str) -> dict[str, Any]:
    """The JSON Schema of one of these names."""
    return {"type": "string", "enum": list(names), "default": default}


def text(default: str) -> dict[str, Any]:
    """The JSON Schema of a text."""
    return {"type": "string", "default": default}


VIDEO = Parameter("video_id", "The video. A slash in its name is sent as it is.", in_path=True)
KIND = Parameter("kind", f'What is counted; "{DEFAULT_KIND}" by default.', text(DEFAULT_KIND))
KINDS = Parameter(
    "kind",
    f'What is counted; "{DEFAULT_KIND}" by default. Given more than once, the answer has each of these kinds; with '
    f"{ALL_KINDS}, those that the video has.",
    {"type": "array", "items": {"type": "string"}, "maxItems": KINDS_MAX, "default": [DEFAULT_KIND]},
    is_repeated=True,
)
TO = Parameter("to", "RFC 3339 or ms since 1970; now by default. Not included.")


def refusal(text: str, *, retry: bool = False, limits: bool = False) -> Answer[Problem]:
    """The answer of a refusal."""
    return Answer(text, (Problem,), retry=retry, limits=limits, media=PROBLEM)


AWAY = refusal(
    "What was asked for cannot be read or is not counted yet, or the process has too much to do; try again after "
    "Retry-After seconds.",
    retry=True,
)
TRUST: dict[str, Any] = {
    **LIMITS,
    STATUS_FIELD: {
        "description": "How the stream is: healthy, idle (nobody sends events), stalled (it closes no minutes, or is "
        "catching up) or unknown; and in `behind`, by how many seconds it is behind the clock.",
        "schema": {"type": "string", "examples": ["healthy;behind=42"]},
    },
    AUDIT_FIELD: {
        "description": "What the last audit of the hours asked for found, or, where none of them was audited lately, "
        "what the newest audit found: clean, repaired (it was wrong, and is right now), wrong, none or unknown; when "
        "(`at`), how many numbers were wrong and how many of them are repaired, and how many "
        "of the hours asked for that is about.",
        "schema": {"type": "string", "examples": ['clean;at="2026-01-01T03:00:00Z";wrong=0;repaired=0;hours=24']},
    },
    DEGRADED_FIELD: {
        "description": "Only if something is missing or old, because a store does not answer: what, as in `degraded`.",
        "schema": {"type": "string", "examples": ["history"]},
    },
    AGE_FIELD: {
        "description": "Only if the answer is the last one that was known: how many seconds ago it was read.",
        "schema": {"type": "integer"},
    },
}
REFUSALS: dict[int, Answer[Any]] = {
    400: refusal("There is a secret key in the address."),
    401: refusal("There is no valid key."),
    403: refusal("The key may not ask for this; in open access, the request is of another machine or site."),
    422: refusal("Parameters are bad: `errors` names each."),
    429: refusal(
        "The caller has asked more than its limit; try again after Retry-After seconds.", retry=True, limits=True
    ),
    503: AWAY,
}
