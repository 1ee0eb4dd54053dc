"""Optional requests to Cassandra when a job is submitted. The job starts even if Cassandra does not answer."""

from collections.abc import Callable
from typing import TypeVar

from cassandra import DriverException, InvalidRequest
from cassandra.cluster import Session

from connectors.cassandra import CassandraAwayError, connect
from settings import Settings

Result = TypeVar("Result")


def in_cassandra(settings: Settings, do: Callable[[Session], Result], otherwise: str) -> Result | None:
    """Call `do` with a new session, and return its result.

    If Cassandra does not answer or refuses, return None and print `otherwise`, a text without a full stop that says
    what is not done, followed by the error. Any other exception of `do` passes through.
    """
    try:
        session = connect(settings.cassandra)
    except CassandraAwayError as error:
        print(f"{otherwise}: {error}")
        return None
    try:
        return do(session)
    except (DriverException, InvalidRequest) as error:
        print(f"{otherwise}: {error}")
        return None
    finally:
        session.cluster.shutdown()
