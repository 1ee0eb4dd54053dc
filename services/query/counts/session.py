"""A Cassandra session for the event loop: it connects in the background, and no read blocks. Knows no question."""

import asyncio
import contextlib
import threading
from typing import Any

import structlog
from cassandra import DriverException, InvalidRequest, RequestExecutionException
from cassandra.cluster import NoHostAvailable
from tenacity import RetryError, Retrying, sleep_using_event, stop_when_event_set, wait_exponential

from connectors.cassandra import connect
from schemas.progress import PIPELINE
from services.query.counts.breaker import Breaker
from services.query.counts.guard import Guard, NoAnswerError
from services.query.counts.pages import all_rows
from services.query.counts.statements import BESIDE, OPTIONAL_STATEMENTS, STATEMENTS
from settings import CassandraSettings

LOG = structlog.get_logger("query")
CONNECT_AGAIN_MAX_S = 2.0
PARTITIONS_AT_ONCE = 32
# Of the statements that are read beside requests.
BESIDE_AT_ONCE = 8
AWAY = (NoHostAvailable, DriverException, RequestExecutionException)
FAILURES_MAX = 5
PROBE_FIRST_S, PROBE_MOST_S = 0.5, 5.0


class StoreAwayError(ConnectionError):
    """Cassandra does not answer. The caller may try again."""


class RefusedStatementError(RuntimeError):
    """Cassandra answers, and refuses the statement."""


class ReadSession:
    """Reads rows by the name of a statement. Call `start` on a running loop, and `stop` before the loop ends.

    While Cassandra is away, the session keeps trying to connect, and every read raises StoreAwayError. At most
    PARTITIONS_AT_ONCE reads are under way at a time; further ones wait for their turn, within `timeout_s`. Statements
    of BESIDE have turns of their own, so that monitoring and what all answers share never wait for what clients ask.
    """

    def __init__(self, cassandra: CassandraSettings, timeout_s: float = 10.0) -> None:
        self._cassandra = cassandra
        self._timeout_s = timeout_s
        self._stopping = threading.Event()
        self._session: Any = None
        self._statements: dict[str, Any] = {}
        self._beside = asyncio.Semaphore(BESIDE_AT_ONCE)
        self._guard = Guard(
            "Cassandra",
            Breaker(FAILURES_MAX, PROBE_FIRST_S, PROBE_MOST_S),
            AWAY,
            timeout_s=timeout_s,
            at_once=PARTITIONS_AT_ONCE,
            probe=lambda: self._ask("progress", (PIPELINE,)),
        )

    @property
    def is_away(self) -> bool:
        """Whether Cassandra is known not to answer now."""
        return self._session is None or self._guard.is_open

    def start(self) -> None:
        """Begin to connect in a thread. Returns at once."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._connect, name="cassandra-connect", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop connecting, and close the session."""
        self._stopping.set()
        self._guard.stop()
        await asyncio.to_thread(self._thread.join)
        if self._session is not None:
            await asyncio.to_thread(self._session.cluster.shutdown)

    async def rows(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        """All rows of a statement of services.query.counts.statements. Raises StoreAwayError."""
        if self._session is None:
            raise StoreAwayError("not connected to Cassandra yet")
        try:
            return await self._guard.ask(
                lambda: self._ask(statement, values), self._beside if statement in BESIDE else None
            )
        except (NoAnswerError, RefusedStatementError) as error:
            raise StoreAwayError(str(error)) from error

    async def _ask(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        try:
            if statement not in self._statements:
                # The table of this optional statement was missing when the session connected.
                text = OPTIONAL_STATEMENTS[statement]
                self._statements[statement] = await asyncio.to_thread(self._session.prepare, text)
            # A callback may come after the time-out; then nobody waits for it any more.
            asked = self._session.execute_async(self._statements[statement], values, timeout=self._timeout_s)
            return await all_rows(asked, self._loop)
        except InvalidRequest as error:
            # Who refuses a statement is there.
            LOG.warning("statement refused", statement=statement, error=str(error))
            raise RefusedStatementError(f"Cassandra refuses a statement: {error}") from error

    def _connect(self) -> None:
        retrying = Retrying(
            wait=wait_exponential(multiplier=0.1, max=CONNECT_AGAIN_MAX_S),
            stop=stop_when_event_set(self._stopping),
            sleep=sleep_using_event(self._stopping),
        )
        with contextlib.suppress(RetryError):
            retrying(self._connect_once)

    def _connect_once(self) -> None:
        try:
            session = connect(self._cassandra)
        except Exception as error:
            LOG.warning("not connected", error=str(error))
            raise
        try:
            self._statements = {name: session.prepare(text) for name, text in STATEMENTS.items()}
            for name, text in OPTIONAL_STATEMENTS.items():
                with contextlib.suppress(InvalidRequest):
                    self._statements[name] = session.prepare(text)
        except Exception as error:
            LOG.warning("tables are not there yet", error=str(error))
            session.cluster.shutdown()
            raise
        self._session = session
