"""Events go through a Kafka with TLS and passwords, by every client of the product, and no secret goes anywhere.

Redis has a password there, and services ask for keys.
"""

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from redis import Redis

from connectors.compacted_topic import read_to_end
from connectors.installation import check_topics, ensure_topics
from connectors.kafka_admin import describe_topics
from connectors.kafka_clients import client_config
from connectors.key_file import change_keys
from schemas.access_keys import Scope, new_key
from schemas.registry import decode
from schemas.topics import topics
from settings import KafkaSettings
from tests.support.installation import PROMPT, Installation
from tests.support.secret_places import (
    PRIVATE_PATHS,
    PUBLIC_PATHS,
    Secret,
    files_below,
    files_of,
    flink_says,
    objects,
    places_of,
    records,
    redis_holds,
    service_says,
)
from tests.support.secured_kafka import secured_kafka, write_secret
from tests.support.services import service
from tests.support.valkey import running_valkey
from tests.support.waiting import eventually
from tools.keys import ADMIN_KEY_VARIABLE
from tools.stack import Stack
from tools.stack.files import S3_SECRET_KEY
from tools.stack.layout import repository
from tools.stack.machine.ports import HOST, free_ports

EVENTS = 40
MINUTE_MS = 60_000
VIDEO = "barracuda"


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
    return [{"event_id": str(uuid.uuid4()), "video_id": VIDEO, "viewed_at": at_ms} for _ in range(number)]


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


def test_events_are_counted_and_no_secret_is_anywhere(
    shared_stack: Stack, installation: Secured, kafka: KafkaSettings, folder: Path, password: str
) -> None:
    assert check_topics(installation.settings) == []
    secrets = folder / "secrets"
    texts = {scope: add_key(folder / "keys.json", scope) for scope in ("write", "read", "admin", "canary")}
    redis_password = f"halibut-{uuid.uuid4().hex}"
    write_secret(secrets / "redis", redis_password)
    with running_valkey(folder, password=redis_password) as redis:
        known = [
            Secret("Kafka's password", password, frozenset({secrets / "password"})),
            Secret("Redis' password", redis_password, frozenset({secrets / "redis", redis.configuration})),
            Secret("the store's key", S3_SECRET_KEY, store_files(shared_stack), needs_store, common=True),
            *(Secret(f"the key of the scope {scope}", text.split("_")[3]) for scope, text in texts.items()),
        ]
        job = installation.start()
        variables = {
            **installation.environment(),
            "VIEW_COUNTS_ACCESS_MODE": "keys",
            "VIEW_COUNTS_ACCESS_KEYS_FILE": str(folder / "keys.json"),
            "VIEW_COUNTS_REDIS_PORT": str(redis.port),
            "VIEW_COUNTS_REDIS_PASSWORD_FILE": str(secrets / "redis"),
        }
        ports = free_ports(("ingest", "query"))
        ingest = service(
            "ingest",
            {**shared_stack.shared_environment(), **variables},
            log=folder / "ingest.log",
            private_port=ports["ingest"],
        )
        query = service(
            "query",
            {**shared_stack.process_environment(), **variables},
            log=folder / "query.log",
            private_port=ports["query"],
        )
        with ingest as ingest_url, query as query_url, Redis(HOST, redis.port, password=redis_password) as client:
            send(ingest_url, texts)
            # Counts need the source in the JVM and the block list in Python, and late events the sink in the JVM.
            assert eventually(lambda: sum(installation.views().values()) == EVENTS)
            assert eventually(lambda: late_events(installation) == 3)
            # The enrich stage writes by a producer of its own.
            counts = installation.settings.kafka.counts_topic
            assert eventually(lambda: any(True for _ in read_to_end(installation.settings.kafka, counts, 60)))
            assert installation.restarts(job) == 0
            # What became of the events, and when each key was used.
            assert eventually(lambda: len(client.keys()) >= 2)
            told = tell(texts["admin"], texts["canary"], ports.values(), variables)
            reader_paths = (f"/v1/videos/{VIDEO}/views", *PUBLIC_PATHS)
            kafka_topics = (one.name for one in topics(installation.settings) if one.name != "video-metadata")
            contents = [
                ("what the command says", told),
                *flink_says(shared_stack, job),
                *service_says(ingest_url, PUBLIC_PATHS, texts["write"]),
                *service_says(query_url, reader_paths, texts["read"]),
                *(one for port in ports.values() for one in service_says(f"http://{HOST}:{port}", PRIVATE_PATHS)),
                *objects(installation.settings.s3),
                *records(installation.settings.kafka, kafka_topics),
                *redis_holds(client),
            ]
            assert places_of(known, [*files_of(shared_stack), *files_below(folder)], contents) == []
            # The search finds what does travel: the path, and what was sent.
            path = Secret("the path", str(kafka.password_file))
            assert any("in the object " in place for place in places_of([path], [], contents))
            sent = places_of([Secret("the video", VIDEO)], [], contents)
            for place in ("in a record of ", " of Redis", f"in the answer /v1/recent of {ingest_url}"):
                assert any(place in found for found in sent), sent


def send(url: str, texts: Mapping[str, str]) -> None:
    """Send events by a key, and requests that are refused."""
    now_ms = time.time_ns() // 1_000_000
    key = {"Authorization": f"Bearer {texts['write']}"}
    with httpx2.Client(base_url=url, trust_env=False, timeout=60) as client:
        events = [*views(EVENTS, now_ms), *views(3, now_ms - 60 * MINUTE_MS)]
        answer = client.post("/v1/events", json={"events": events}, headers=key)
        assert (answer.status_code, answer.json()["accepted"]) == (202, EVENTS + 3), answer.text
        refused: tuple[dict[str, Any], ...] = (
            # A secret key does not belong into an address, and neither does a token.
            {"params": {"key": texts["write"]}},
            {"params": {"token": texts["write"]}, "headers": key},
            {"headers": {"Authorization": f"Bearer {texts['read']}"}},
            {"headers": {"Authorization": f"Bearer {texts['write']}x"}},
            {"headers": {"Authorization": f"Basic {texts['write']}"}},
        )
        for request in refused:
            assert client.post("/v1/events", json={"events": views(1, now_ms)}, **request).is_client_error
    raw = f"GET /v1/recent?key={texts['write']} HTTP/1.1\r\nBad Header: {texts['read']}\r\n\r\n".encode()
    with socket.create_connection((HOST, int(url.rpartition(":")[2])), 30) as connection:
        connection.sendall(raw)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 400")


def tell(admin: str, other: str, ports: Iterable[int], variables: Mapping[str, str]) -> bytes:
    """Withdraw a key and tell running processes, as an operator does; what the command says."""
    told = [word for port in ports for word in ("--tell", f"{HOST}:{port}")]
    done = subprocess.run(
        [sys.executable, "-m", "tools.ops", "keys", "withdraw", other.split("_")[2], *told],
        cwd=repository(),
        env={**os.environ, **variables, ADMIN_KEY_VARIABLE: admin},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def add_key(path: Path, scope: Scope) -> str:
    """The text of a new key of the file."""
    key, text = new_key(scope, "acme")
    change_keys(path, lambda keys: (*keys, key))
    return text


def store_files(stack: Stack) -> frozenset[Path]:
    """Who needs the key of the object store: Flink, the store itself, and what starts the other parts."""
    conf = stack.layout.conf
    return frozenset({conf / "supervisord.conf", conf / "s3-identities.json", stack.layout.flink_conf / "config.yaml"})


def needs_store(command: str) -> bool:
    """Whether a process reads the object store by variables, or inherits them as the wrapper or `tee` of one."""
    own = ("services.query", "services.drain", "taskmanager", "pyflink", "flink-python-udf-boot.log")
    return any(word in command for word in own)
