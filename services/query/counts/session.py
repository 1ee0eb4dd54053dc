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
from services.query.counts.pages import all_rows
from services.query.counts.statements import OPTIONAL_STATEMENTS, STATEMENTS
from settings import CassandraSettings

LOG = structlog.get_logger("query")
CONNECT_AGAIN_MAX_S = 2.0
PARTITIONS_AT_ONCE = 32
AWAY = (NoHostAvailable, DriverException, RequestExecutionException)


class StoreAwayError(ConnectionError):
    """Cassandra does not answer. The caller may try again."""


class ReadSession:
    """Reads rows by the name of a statement. Call `start` on a running loop, and `stop` before the loop ends.

    While Cassandra is away, the session keeps trying to connect, and every read raises StoreAwayError. At most
    PARTITIONS_AT_ONCE reads are under way at a time; further ones wait for their turn.
    """

    def __init__(self, cassandra: CassandraSettings) -> None:
        self._cassandra = cassandra
        self._stopping = threading.Event()
        self._session: Any = None
        self._statements: dict[str, Any] = {}
        self._slots = asyncio.Semaphore(PARTITIONS_AT_ONCE)

    def start(self) -> None:
        """Begin to connect in a thread. Returns at once."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._connect, name="cassandra-connect", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop connecting, and close the session."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)
        if self._session is not None:
            await asyncio.to_thread(self._session.cluster.shutdown)

    async def rows(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        """All rows of a statement of services.query.counts.statements. Raises StoreAwayError."""
        if self._session is None:
            raise StoreAwayError("not connected to Cassandra yet")
        async with self._slots:
            try:
                if statement not in self._statements:
                    # The table of this optional statement was missing when the session connected.
                    text = OPTIONAL_STATEMENTS[statement]
                    self._statements[statement] = await asyncio.to_thread(self._session.prepare, text)
                return await all_rows(self._session.execute_async(self._statements[statement], values), self._loop)
            except AWAY as error:
                LOG.warning("read failed", error=str(error))
                raise StoreAwayError(f"Cassandra does not answer: {type(error).__name__}") from error

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
