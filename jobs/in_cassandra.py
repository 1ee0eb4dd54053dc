"""What a submission asks of Cassandra and can do without: a store that is away is no reason not to count."""

from collections.abc import Callable
from typing import TypeVar

from cassandra import DriverException, InvalidRequest
from cassandra.cluster import Session

from connectors.cassandra import CassandraAwayError, connect
from settings import Settings

Result = TypeVar("Result")


def in_cassandra(settings: Settings, do: Callable[[Session], Result], otherwise: str) -> Result | None:
    """What `do` gives, of a session of its own. Where Cassandra does not, None, and `otherwise` is printed with why."""
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
