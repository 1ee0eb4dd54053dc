"""Events go through a Kafka with TLS and passwords, by every client of the product, and the password goes nowhere."""

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pyarrow.fs
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from connectors.compacted_topic import read_to_end
from connectors.installation import check_topics, ensure_topics
from connectors.kafka_admin import describe_topics
from connectors.kafka_clients import client_config
from schemas.registry import decode
from settings import KafkaSettings
from tests.support.installation import PROMPT, Installation
from tests.support.secured_kafka import secured_kafka
from tests.support.services import service
from tests.support.waiting import eventually
from tools.stack import Stack
from tools.stack.files import S3_BUCKET
from udfs.stores.archive import filesystem

EVENTS = 40
MINUTE_MS = 60_000
# What Flink says of a job and of itself.
REST = (
    *("/jobs/{job}", "/jobs/{job}/config", "/jobs/{job}/plan", "/jobs/{job}/exceptions", "/jobs/{job}/checkpoints"),
    *("/jobmanager/config", "/jobmanager/environment", "/config"),
)


class Secured(Installation):
    """An installation on a secured Kafka, with everything else on the shared stack."""

    def __init__(self, stack: Stack, name: str, kafka: KafkaSettings) -> None:
        super().__init__(stack, name, PROMPT, trusted_times=False)
        access = kafka.model_dump(exclude_unset=True)
        self.settings = self.settings.model_copy(update={"kafka": self.settings.kafka.model_copy(update=access)})

    def _create_topics(self) -> None:
        ensure_topics(self.settings)


@pytest.fixture(scope="module")
def password() -> str:
    return f"swordfish-{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secured-kafka")


@pytest.fixture(scope="module")
def kafka(shared_stack: Stack, folder: Path, password: str) -> Iterator[KafkaSettings]:
    with secured_kafka(shared_stack, folder, password) as settings:
        yield settings


@pytest.fixture(scope="module")
def installation(shared_stack: Stack, kafka: KafkaSettings) -> Iterator[Secured]:
    with Secured(shared_stack, "secured", kafka) as made:
        yield made


def views(number: int, at_ms: int) -> list[dict[str, Any]]:
    return [{"event_id": str(uuid.uuid4()), "video_id": "A", "viewed_at": at_ms} for _ in range(number)]


def late_events(installation: Secured) -> int:
    kafka = installation.settings.kafka
    return sum(len(decode(record.value or b"")[1]["events"]) for record in read_to_end(kafka, kafka.late_topic, 60))


def refusal(kafka: KafkaSettings) -> int | None:
    """The code of the first error that a client with these settings is told; None if it is told of none in time."""
    errors: list[KafkaError] = []
    config: dict[str, Any] = {**client_config(kafka), "error_cb": errors.append}
    client = AdminClient(config)

    def is_told() -> bool:
        client.poll(0.1)
        return bool(errors)

    return errors[0].code() if eventually(is_told, 60) else None


def test_who_has_no_password_or_another_is_not_let_in(kafka: KafkaSettings, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("guessed", encoding="utf-8")
    guessed = kafka.model_copy(update={"password_file": str(tmp_path / "password")})
    with pytest.raises(KafkaException, match="Authentication failed"):
        describe_topics(guessed, ["view-events"], timeout_s=2)
    plain = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
    assert refusal(plain) in {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}
    # The system's authorities do not know this broker, so the client does not send it the password.
    assert refusal(kafka.model_copy(update={"ca_file": None})) == KafkaError._SSL


def test_events_are_counted_and_the_password_is_nowhere(
    shared_stack: Stack, installation: Secured, kafka: KafkaSettings, folder: Path, password: str
) -> None:
    assert check_topics(installation.settings) == []
    job = installation.start()
    now_ms = time.time_ns() // 1_000_000
    variables = {**shared_stack.process_environment(), **installation.environment()}
    with service("ingest", variables) as url, httpx2.Client(base_url=url, trust_env=False, timeout=60) as ingest:
        events = [*views(EVENTS, now_ms), *views(3, now_ms - 60 * MINUTE_MS)]
        answer = ingest.post("/v1/events", json={"events": events})
        assert (answer.status_code, answer.json()["accepted"]) == (202, EVENTS + 3), answer.text
        # Counts need the source in the JVM and the block list in Python, and late events need the sink in the JVM.
        assert eventually(lambda: sum(installation.views().values()) == EVENTS)
        assert eventually(lambda: late_events(installation) == 3)
        # The enrich stage writes by a producer of its own.
        counts = installation.settings.kafka.counts_topic
        assert eventually(lambda: any(True for _ in read_to_end(installation.settings.kafka, counts, 60)))
        assert installation.restarts(job) == 0
        assert places_of(password.encode(), shared_stack, installation, folder, job) == []
        # The search finds what does travel: the path.
        path = str(kafka.password_file).encode()
        found = places_of(path, shared_stack, installation, folder, job)
        assert any(place.startswith("object store: ") for place in found), found


def places_of(text: bytes, stack: Stack, installation: Secured, folder: Path, job: str) -> list[str]:
    """Where a text stands, of all places where others than the owner of the secrets could read it."""
    return [
        *(f"file: {path}" for path in files(stack, folder) if text in path.read_bytes()),
        *(f"process: {said[:200]!r}" for said in processes() if text in said),
        *(f"REST: {path}" for path in REST if text in json.dumps(stack.flink_rest(path.format(job=job))).encode()),
        *(f"object store: {path}" for path, content in stored(installation) if text in content),
    ]


def files(stack: Stack, folder: Path) -> Iterator[Path]:
    """Logs and configurations of the stack, and all of the broker's but what its clients are given."""
    for root in (stack.layout.logs, stack.layout.conf, stack.layout.flink_conf, stack.layout.run, folder):
        yield from (path for path in root.rglob("*") if path.is_file() and path.parent != folder / "secrets")


def processes() -> Iterator[bytes]:
    """The arguments and the environment of each process."""
    for process in psutil.process_iter():
        try:
            said = [*process.cmdline(), *(f"{name}={value}" for name, value in process.environ().items())]
        except psutil.Error:
            continue
        yield "\0".join(said).encode(errors="surrogateescape")


def stored(installation: Secured) -> Iterator[tuple[str, bytes]]:
    """(path, content) of each object: what Flink keeps of jobs, and their checkpoints."""
    store = filesystem(installation.settings.s3)
    for info in store.get_file_info(pyarrow.fs.FileSelector(S3_BUCKET, recursive=True)):
        if info.type is pyarrow.fs.FileType.File:
            # Checkpoints go while the others are read.
            with contextlib.suppress(FileNotFoundError), store.open_input_file(info.path) as file:
                yield info.path, bytes(file.read())
