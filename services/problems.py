"""What is answered in place of an answer: problem details, as RFC 9457 says. Knows no HTTP library."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

PROBLEM = "application/problem+json"
# There is no more to say of the kind of a problem than its status does.
BLANK = "about:blank"


class BadParameter(Struct, frozen=True):
    """A parameter that cannot be used, and what it may be."""

    field: str
    value: str
    reason: str


class Problem(Struct, frozen=True, kw_only=True):
    """Why there is no answer."""

    type: Annotated[str, Meta(description="Always about:blank: `status` says what kind of problem it is.")] = BLANK
    title: Annotated[str, Meta(description="What the status means.")]
    status: int
    detail: Annotated[str, Meta(description="What is wrong this time, and what to do.")]
    error: Annotated[str, Meta(description="The same as `detail`, for clients that read it here.")]
    errors: Annotated[
        list[BadParameter] | UnsetType, Meta(description="The parameters that cannot be used. Only 422 has it.")
    ] = UNSET


def problem(status: int, detail: str, errors: Sequence[BadParameter] = ()) -> Problem:
    """The problem of this status."""
    title = HTTPStatus(status).phrase
    return Problem(title=title, status=status, detail=detail, error=detail, errors=list(errors) or UNSET)
