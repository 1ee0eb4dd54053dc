"""Asks Cassandra how far the stream is. Without an answer nobody knows, and nothing is deleted."""

import time
from typing import Any

import structlog
from cassandra import DriverException
from cassandra.cluster import NoHostAvailable

from connectors.cassandra import CassandraAwayError, connect
from settings import Settings
from udfs.stores.stream_frontier import stream_frontier_ms

LOG = structlog.get_logger("drain")
AGAIN_S = 30.0


class Frontier:
    """A session, which is opened when it is first needed, and again after it has failed."""

    def __init__(self, settings: Settings) -> None:
        self._cassandra = settings.cassandra
        self._lateness_ms = settings.counting.lateness_ms
        self._session: Any = None
        self._is_away = False
        self._again_at_s = 0.0

    def read(self) -> int | None:
        """An append time that the stream has passed and counted; None if that is not known now."""
        if self._session is None and time.monotonic() < self._again_at_s:
            return None
        # To connect takes seconds in vain, which draining needs.
        self._again_at_s = time.monotonic() + AGAIN_S
        try:
            if self._session is None:
                self._session = connect(self._cassandra)
            found = stream_frontier_ms(self._session, self._lateness_ms)
        except (CassandraAwayError, DriverException, NoHostAvailable) as error:
            if not self._is_away:
                LOG.warning("does not know how far the stream is, and deletes nothing", reason=str(error))
            self._is_away = True
            return None
        self._is_away = False
        return found

    def stop(self) -> None:
        """Close the session."""
        if self._session is not None:
            self._session.cluster.shutdown()
