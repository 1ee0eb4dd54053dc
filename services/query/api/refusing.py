"""Makes a problem of every error of the query service: its status, what it says, and the header fields with it."""

import traceback
from collections.abc import Awaitable, Callable, Mapping

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.json_answer import problem_answer
from services.parameters import ParameterError, ParametersError
from services.problems import BadParameter, Problem, problem
from services.query.counts.cold import TooManyFilesError
from services.query.counts.completeness import HistoryAwayError
from services.query.counts.session import StoreAwayError
from services.refused import RETRY_AFTER_S, RefusedError
from services.stamped import REQUEST_ID

LOG = structlog.get_logger("query")
FAILED = "the service has failed; its operators find why in the log, by the X-Request-Id of this answer"
NOT_FOUND = "there is nothing at this path; /docs and /openapi.json name what can be asked"
RETRY = {"Retry-After": str(RETRY_AFTER_S)}


def problem_of(error: Exception) -> tuple[Problem, Mapping[str, str]]:
    """The problem that an error is, and header fields of its answer. An error that nobody expects is a 500."""
    match error:
        case ParametersError():
            return _of_parameters(error.error, error.errors), {}
        case ParameterError():
            return _of_parameters(error.error, (error,)), {}
        case TooManyFilesError():
            named = ParameterError("from", error.start.isoformat(), str(error))
            return _of_parameters(named.error, (named,)), {}
        case RefusedError():
            return problem(error.status, error.error), error.headers
        case StoreAwayError() | HistoryAwayError():
            return problem(503, str(error)), RETRY
        case HTTPException(status_code=404):
            return problem(404, NOT_FOUND), {}
        case HTTPException():
            allowed = (error.headers or {}).get("Allow", "")
            return problem(error.status_code, f"this path takes {allowed}"), error.headers or {}
    return problem(500, FAILED), {}


async def refuse(request: Request, error: Exception) -> Response:
    """The answer to a request that has raised this error."""
    found, headers = problem_of(error)
    if found.status == 500:
        # As text: what renders an error for a terminal would show variables too, and one of them has the key.
        trace = "".join(traceback.format_exception(error))
        LOG.error("failed", path=request.url.path, request_id=_id(request), error=repr(error), trace=trace)
    return problem_answer(found, headers)


HANDLERS: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = dict.fromkeys(
    (RefusedError, TooManyFilesError, StoreAwayError, HistoryAwayError, HTTPException, Exception), refuse
)


def _of_parameters(detail: str, errors: tuple[ParameterError, ...]) -> Problem:
    return problem(422, detail, [BadParameter(one.field, one.value, one.reason) for one in errors])


def _id(request: Request) -> str:
    found: bytes = request.scope.get("state", {}).get(REQUEST_ID, b"")
    return found.decode()
