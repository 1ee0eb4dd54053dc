"""The services that take events over HTTP: how each is started, what it understands, and what it guarantees less.

Each is one process on a port of 127.0.0.1, writes to a topic of its own, and answers at /readyz.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from schemas import registry
from settings import Settings
from settings.durations import HOUR_MS
from tools.keys import add_key
from tools.stack.machine.ports import HOST


@dataclass(frozen=True)
class Access:
    """With what right bodies are sent: variables of the service, and headers of each request."""

    environment: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a service runs and writes."""

    port: int
    private_port: int
    brokers: str
    topic: str
    # The compiled Go peer; None if it does not take part.
    go_peer: Path | None = None

    @property
    def url(self) -> str:
        """Where it takes events."""
        return f"http://{HOST}:{self.port}/v1/events"


@dataclass(frozen=True)
class Service:
    """A service that is measured. `command` and `variables` are those of its process."""

    name: str
    title: str
    topic: str
    command: Callable[[Place], list[str]]
    variables: Callable[[Place], Mapping[str, str]]
    forms: tuple[str, ...]
    encodings: tuple[str, ...]
    guarantees_less: tuple[str, ...] = ()
    access: Access = Access()
    # The checkout whose code runs; None for this one.
    folder: Path | None = None


# Limits are on, by Redis as elsewhere, and so high that nobody meets them: what is measured is what they cost.
OUR_ACCESS = Access(
    environment={
        "VIEW_COUNTS_LIMITS_EVENTS_PER_S": str(10**9),
        "VIEW_COUNTS_LIMITS_BYTES_PER_S": str(10**12),
    }
)


def _ours(place: Place) -> Mapping[str, str]:
    return {
        "VIEW_COUNTS_INGEST_PORT": str(place.port),
        "VIEW_COUNTS_INGEST_PRIVATE_PORT": str(place.private_port),
        # No balancer sends it requests, so that it need not wait for one when it is stopped.
        "VIEW_COUNTS_INGEST_LEAVING_S": "0",
        "VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS": place.brokers,
    }


def _go_command(place: Place) -> list[str]:
    settings = Settings()
    past_ms = settings.history.late_hours * HOUR_MS + settings.ingest.past_margin_ms
    future_ms = settings.counting.future_skew_ms + settings.ingest.future_margin_ms
    return [
        str(place.go_peer),
        f"-listen={HOST}:{place.port}",
        f"-brokers={place.brokers}",
        f"-topic={place.topic}",
        f"-prefix={registry.prefix('ViewBatch').hex()}",
        f"-salts={settings.counting.salts}",
        f"-partitions={settings.kafka.partitions}",
        f"-past-ms={past_ms}",
        f"-future-ms={future_ms}",
    ]


def _fastapi_command(place: Place) -> list[str]:
    module = "benchmarks.peers.fastapi_peer"
    return [
        *(sys.executable, "-m", module),
        *("--port", str(place.port), "--brokers", place.brokers, "--topic", place.topic),
    ]


OURS = Service(
    "ours",
    "services/ingest",
    Settings().kafka.events_topic,
    lambda _place: [sys.executable, "-m", "services.ingest"],
    _ours,
    ("json", "ndjson", "avro"),
    ("identity", "gzip"),
    access=OUR_ACCESS,
)
GO = Service(
    "go",
    "Go: net/http, franz-go, goccy/go-json, GOMAXPROCS=1",
    "bench-go",
    _go_command,
    lambda _place: {"GOMAXPROCS": "1"},
    ("json", "ndjson"),
    ("identity", "gzip"),
    (
        "no bound on events that wait for Kafka, so no 429 under overload",
        "an id is a UUID, and no other text; no Idempotency-Key",
        "unknown and misspelt fields pass without a word",
        "one event of a wrong type refuses the whole JSON body",
        "no check of topics, clocks and partitions; the events of a dead partition wait for their time-out",
        "no keys, limits, metrics or tally, and no orderly end",
    ),
)
FASTAPI = Service(
    "fastapi",
    "Python: FastAPI, fastavro, kafka-python",
    "bench-fastapi",
    _fastapi_command,
    lambda _place: {},
    ("json",),
    ("identity",),
    (
        "no batches: one record for each event, which the count job does not read without the pack job",
        "an id is a UUID, and no other text; no Idempotency-Key",
        "one bad event refuses the whole body; lengths are checked in characters, and times not at all",
        "no bound on bodies or on events that wait for Kafka, so no 413 and no 429",
        "no heartbeats, and no check of topics, clocks and partitions",
        "no keys, limits, metrics or tally, and no orderly end",
    ),
)


def with_key(service: Service, file: Path) -> Service:
    """The service with a key that it asks for, in a new file of keys. Raises KeyFileError if it cannot be written."""
    text = add_key(file, scope="write", project="benchmark", kinds=(), origins=(), video_prefixes=(), expires_at=None)
    environment = {
        **service.access.environment,
        "VIEW_COUNTS_ACCESS_MODE": "keys",
        "VIEW_COUNTS_ACCESS_KEYS_FILE": str(file),
    }
    return replace(service, access=Access(environment, {"Authorization": f"Bearer {text}"}))


def patient(service: Service) -> Service:
    """The service without a bound of delay: in a closed loop each connection waits for all others on purpose."""
    environment = {**service.access.environment, "VIEW_COUNTS_INGEST_DELAY_MAX_MS": "60000"}
    return replace(service, access=replace(service.access, environment=environment))


BEFORE = "before"


def before(folder: Path) -> Service:
    """The ingest service as it is in another checkout of this repository. It writes to the same topic as OURS."""
    return replace(OURS, name=BEFORE, title="services/ingest of another checkout", folder=folder)


SERVICES: Mapping[str, Service] = {service.name: service for service in (OURS, GO, FASTAPI)}
