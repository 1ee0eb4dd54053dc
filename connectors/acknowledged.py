"""Requests to Cassandra that are retried until they succeed, however long Cassandra is away (docs/decisions/0008)."""

import logging
from collections.abc import Sequence
from functools import partial

import tenacity
from cassandra import AuthenticationFailed, DriverException, InvalidRequest, Unauthorized, WriteFailure
from cassandra.cluster import NoHostAvailable, Session
from cassandra.concurrent import execute_concurrent
from cassandra.protocol import ErrorMessage
from cassandra.query import PreparedStatement

from connectors.cassandra import CassandraAwayError, connect
from connectors.figures import WriteFigures
from settings import CassandraSettings

log = logging.getLogger(__name__)

# Every error by which a request can end. ErrorMessage is an answer of the server for which the driver has no exception.
FAILURES = (NoHostAvailable, DriverException, ErrorMessage)
_REFUSALS = (InvalidRequest, Unauthorized, AuthenticationFailed, WriteFailure, ErrorMessage)


def is_refusal(error: object) -> bool:
    """Whether Cassandra refused the request. Otherwise it did not answer, or cannot do it now."""
    return isinstance(error, _REFUSALS)


_however_long = partial(
    tenacity.retry,
    wait=tenacity.wait_exponential(multiplier=0.5, max=5),
    before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
)


@_however_long(retry=tenacity.retry_if_exception_type(CassandraAwayError))
def connect_however_long(settings: CassandraSettings) -> Session:
    """A session. Waits until Cassandra answers, so that a job that restarts while Cassandra is away does not fail."""
    return connect(settings)


@_however_long(
    # A statement that Cassandra does not understand will not succeed later either.
    retry=tenacity.retry_if_exception(
        lambda error: isinstance(error, NoHostAvailable | DriverException) and not isinstance(error, InvalidRequest)
    )
)
def prepare_however_long(session: Session, statement: str) -> PreparedStatement:
    """The prepared statement. Waits until Cassandra answers. Raises InvalidRequest if it refuses the statement."""
    return session.prepare(statement)


def write_all(
    session: Session,
    statements: Sequence[tuple[object, object]],
    concurrency: int,
    what: str,
    figures: WriteFigures | None = None,
) -> None:
    """Execute all (statement, parameters), up to `concurrency` at a time, and retry those that fail until none does.

    It gives up no statement, whether Cassandra refused it or did not answer. `what` names their table in the log.
    `figures` gets the number of refused and of waiting writes.
    """
    figures = figures or WriteFigures()
    pending = statements
    waiting = 0

    def tell(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if is_refusal(error):
            log.error(
                "Cassandra refuses %d writes to %s; they and all counting wait until it accepts them: %.300s",
                len(pending), what, error,
            )  # fmt: skip
        else:
            log.warning(
                "Cassandra did not acknowledge %d writes to %s, trying again: %.200s", len(pending), what, error
            )

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(FAILURES),
        wait=tenacity.wait_exponential(multiplier=0.1, max=5),
        before_sleep=tell,
    )
    def attempt() -> None:
        nonlocal pending, waiting
        results = execute_concurrent(session, pending, concurrency=concurrency, raise_on_first_error=False)
        failed = [(s, r.result_or_exc) for s, r in zip(pending, results, strict=True) if not r.success]
        pending = [statement for statement, _ in failed]
        figures.note_waiting(len(pending) - waiting)
        waiting = len(pending)
        if failed:
            refusals = [error for _, error in failed if is_refusal(error)]
            figures.note_refused(len(refusals))
            # The log names a refusal first, because an operator can remove its cause.
            raise refusals[0] if refusals else failed[0][1]

    try:
        attempt()
    finally:
        figures.note_waiting(-waiting)
