"""The services that answer for counts: how each is started, what it is asked, and what it guarantees less.

Each is one process on a port of 127.0.0.1, reads the same Cassandra, and answers at /readyz.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tools.stack.machine.ports import HOST


@dataclass(frozen=True)
class Place:
    """Where a service runs, and where its Cassandra is."""

    port: int
    private_port: int
    cassandra_port: int
    keyspace: str

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"


@dataclass(frozen=True)
class Service:
    """A service that is measured. `command` and `variables` are those of its process."""

    name: str
    title: str
    command: Callable[[Place], list[str]]
    variables: Callable[[Place], Mapping[str, str]] = field(default=lambda _place: {})
    # Whether it answers questions for hours that the tables keep no longer.
    has_history: bool = True
    guarantees_less: tuple[str, ...] = ()
    # The checkout whose code runs; None for this one.
    folder: Path | None = None


def _ours(place: Place) -> Mapping[str, str]:
    return {
        "VIEW_COUNTS_QUERY_PORT": str(place.port),
        "VIEW_COUNTS_QUERY_PRIVATE_PORT": str(place.private_port),
        # No balancer sends it requests, so that it need not wait for one when it is stopped.
        "VIEW_COUNTS_QUERY_LEAVING_S": "0",
        # Limits are on, and so high that nobody meets them: what is measured is what they cost.
        "VIEW_COUNTS_QUERY_QUESTIONS_PER_S": str(10**9),
        "VIEW_COUNTS_QUERY_COST_PER_S": str(10**12),
    }


def _fastapi(place: Place) -> list[str]:
    return [
        *(sys.executable, "-m", "benchmarks.peers.fastapi_query", "--port", str(place.port)),
        *("--cassandra-port", str(place.cassandra_port), "--keyspace", place.keyspace),
    ]


OURS = Service("ours", "services/query", lambda _place: [sys.executable, "-m", "services.query"], _ours)
FASTAPI = Service(
    "fastapi",
    "Python: FastAPI, cassandra-driver",
    _fastapi,
    has_history=False,
    guarantees_less=(
        "a total may be wrong while a rollup writes: it reads neither the register nor how far minutes are complete",
        "no word on what is complete, missing, waiting, late, imported or blocked",
        "series have no points without views, and none of the hours that history has not counted yet",
        "nothing is read from Parquet, and no time zones, lists, ledger or metrics",
        "no keys or limits, no readiness of stores, no time-outs of its own, and no orderly end",
    ),
)


def before(folder: Path, name: str) -> Service:
    """The query service as it is in another checkout of this repository."""
    return replace(OURS, name=name, title="services/query of another checkout", folder=folder)
