"""Cassandra, waited for however long it takes: to be there, to prepare, and to acknowledge (docs/decisions/0008)."""

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

# All that a request can end by. What the driver knows no exception for is the server's message.
FAILURES = (NoHostAvailable, DriverException, ErrorMessage)
_REFUSALS = (InvalidRequest, Unauthorized, AuthenticationFailed, WriteFailure, ErrorMessage)


def is_refusal(error: object) -> bool:
    """Whether Cassandra has answered that it does not do this; otherwise it has not answered, or cannot now."""
    return isinstance(error, _REFUSALS)


_however_long = partial(
    tenacity.retry,
    wait=tenacity.wait_exponential(multiplier=0.5, max=5),
    before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
)


@_however_long(retry=tenacity.retry_if_exception_type(CassandraAwayError))
def connect_however_long(settings: CassandraSettings) -> Session:
    """A session: a job restarted while Cassandra is away waits for it."""
    return connect(settings)


@_however_long(
    # One that it does not understand, it never will.
    retry=tenacity.retry_if_exception(
        lambda error: isinstance(error, NoHostAvailable | DriverException) and not isinstance(error, InvalidRequest)
    )
)
def prepare_however_long(session: Session, statement: str) -> PreparedStatement:
    """The statement, prepared: Cassandra may go between the session and this. Raises InvalidRequest."""
    return session.prepare(statement)


def write_all(
    session: Session,
    statements: Sequence[tuple[object, object]],
    concurrency: int,
    what: str,
    figures: WriteFigures | None = None,
) -> None:
    """Execute (statement, parameters) side by side, and again those that failed, until none has.

    Whether they were refused or not answered: none is ever set aside. `what` is their table, for the log.
    """
    figures = figures or WriteFigures()
    pending = statements
    waiting = 0

    def tell(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if is_refusal(error):
            log.error(
                "Cassandra refuses %d writes to %s; they wait, and counting with them, until it takes them: %.300s",
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
            # What an operator can mend is said first.
            raise refusals[0] if refusals else failed[0][1]

    try:
        attempt()
    finally:
        figures.note_waiting(-waiting)
