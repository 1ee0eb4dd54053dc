"""Cassandra, waited for however long it takes: to be there, to prepare, and to acknowledge (docs/decisions/0008)."""

import logging
from collections.abc import Sequence
from functools import partial

import tenacity
from cassandra import DriverException, InvalidRequest
from cassandra.cluster import NoHostAvailable, Session
from cassandra.concurrent import execute_concurrent
from cassandra.query import PreparedStatement

from connectors.cassandra import CassandraAwayError, connect
from settings import CassandraSettings

log = logging.getLogger(__name__)


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


def write_all(session: Session, statements: Sequence[tuple[object, object]], concurrency: int) -> None:
    """Execute (statement, parameters) side by side, and again those that failed, until none has."""
    pending = statements

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type((NoHostAvailable, DriverException)),
        wait=tenacity.wait_exponential(multiplier=0.1, max=5),
        before_sleep=lambda state: log.warning(
            "Cassandra did not acknowledge %d writes, trying again: %.200s",
            len(pending), state.outcome.exception() if state.outcome else "",
        ),
    )  # fmt: skip
    def attempt() -> None:
        nonlocal pending
        results = execute_concurrent(session, pending, concurrency=concurrency, raise_on_first_error=False)
        failed = [(s, r.result_or_exc) for s, r in zip(pending, results, strict=True) if not r.success]
        pending = [statement for statement, _ in failed]
        if failed:
            raise failed[0][1]

    attempt()
