"""Two processes of ingest behind HAProxy on a real Kafka: whatever ends or is reloaded, no request with ids fails."""

import json
import random
import re
import signal
import socket
import ssl
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2
import pytest

from connectors.compacted_topic import read_to_end
from schemas.registry import decode
from services.ingest.idempotency import HEADER
from settings import Settings
from tests.support.waiting import eventually
from tools.stack import Stack, StackOptions
from tools.stack.machine.ports import HOST

SENDERS = 4
PAUSE_S = 0.005
ATTEMPTS = 20
# What is sent before and after each thing that happens.
BODIES = 150
READ_S = 60.0


def uuid7() -> str:
    number = random.getrandbits(80) & ~(0xF << 76) & ~(0x3 << 62) | 7 << 76 | 2 << 62
    return str(uuid.UUID(int=(time.time_ns() // 1_000_000) << 80 | number))


@dataclass
class Sent:
    """What the senders have sent: the videos of events that were acknowledged, and what went wrong."""

    acknowledged: list[str] = field(default_factory=list)
    # Why a body was sent again by its sender, in place of the balancer.
    again: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def wait_more(self, bodies: int = BODIES) -> None:
        """Wait until so many more are acknowledged."""
        before = len(self.acknowledged)
        assert eventually(lambda: len(self.acknowledged) >= before + bodies, 60, 0.02), self.again[-3:]

    def send(self, url: str) -> None:
        """Send bodies of one event without an id, each with a key, and again until it is acknowledged."""
        with httpx2.Client(base_url=url, trust_env=False, timeout=30) as client:
            while not self.stopping.is_set():
                video = f"video-{uuid.uuid4()}"
                body = json.dumps({"events": [{"video_id": video}]})
                headers = {HEADER: uuid7(), "Content-Type": "application/json"}
                for _ in range(ATTEMPTS):
                    why = self._once(client, body, headers)
                    if why is None:
                        self.acknowledged.append(video)
                        break
                    self.again.append(why)
                    time.sleep(0.2)
                else:
                    self.failed.append(video)
                time.sleep(PAUSE_S)

    @staticmethod
    def _once(client: httpx2.Client, body: str, headers: dict[str, str]) -> str | None:
        try:
            answer = client.post("/v1/events", content=body, headers=headers)
        except httpx2.TransportError as error:
            return repr(error)
        return None if answer.status_code == 202 else f"{answer.status_code} {answer.text}"


@contextmanager
def load(stack: Stack) -> Iterator[Sent]:
    """A load, until the context ends and all is answered."""
    sent = Sent()
    senders = [threading.Thread(target=sent.send, args=(stack.endpoints["ingest"],)) for _ in range(SENDERS)]
    for one in senders:
        one.start()
    try:
        sent.wait_more()
        yield sent
        sent.wait_more()
    finally:
        sent.stopping.set()
        for one in senders:
            one.join(60)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    options = StackOptions(
        home=tmp_path_factory.mktemp("balanced"),
        ports="free",
        parts=("kafka", "ingest", "ingest_2", "haproxy"),
        graceful_stop=False,
    )
    with Stack(options) as running:
        yield running


def each_counts_once(stack: Stack, sent: Sent) -> None:
    """Whether what was acknowledged is in the topic, all of it under one id, however often it was written."""
    kafka = Settings().kafka.model_copy(update={"bootstrap_servers": stack.endpoints["kafka"]})
    ids = defaultdict(set)
    for record in read_to_end(kafka, kafka.events_topic, READ_S):
        for event in decode(record.value or b"")[1]["events"]:
            ids[event["video_id"]].add((event["event_id"], event["viewed_at"]))
    assert sent.failed == []
    wrong = {video: ids[video] for video in sent.acknowledged if len(ids[video]) != 1}
    assert not wrong, f"{len(wrong)} of {len(sent.acknowledged)}: {list(wrong.items())[:3]}"


def balancer_sees(stack: Stack, up: int) -> bool:
    """Whether the balancer sends requests to so many processes of ingest."""
    text = httpx2.get(f"{stack.endpoints['balancer_private']}/metrics", trust_env=False).text
    return f'haproxy_backend_active_servers{{proxy="ingest"}} {up}\n' in text


def reload(stack: Stack) -> None:
    """Let the balancer read its configuration again, and wait until a new process of it serves."""
    before = stack.logs("haproxy").count("Loading success")
    stack.kill("haproxy", signal.SIGUSR2)
    assert eventually(lambda: stack.logs("haproxy").count("Loading success") > before, 20, 0.05)


def test_a_process_is_killed(stack: Stack) -> None:
    with load(stack) as sent:
        stack.kill("ingest")
        sent.wait_more()
        stack.wait_ready("ingest")
        assert eventually(lambda: balancer_sees(stack, 2), 30)
    each_counts_once(stack, sent)


def test_a_process_is_replaced(stack: Stack) -> None:
    with load(stack) as sent:
        stack.restart("ingest_2")
        assert eventually(lambda: balancer_sees(stack, 2), 30)
    assert sent.again == []
    each_counts_once(stack, sent)


def test_the_balancer_is_reloaded_and_processes_leave_its_list_and_come_back(stack: Stack) -> None:
    file = stack.layout.conf / "haproxy.cfg"
    whole = file.read_text(encoding="utf-8")
    port = stack.ports["ingest_2"]
    less = re.sub(rf"^    server .*:{port} .*\n", "", whole, flags=re.MULTILINE)
    assert less != whole
    with load(stack) as sent:
        reload(stack)
        sent.wait_more()
        file.write_text(less, encoding="utf-8")
        reload(stack)
        stack.stop_part("ingest_2")
        sent.wait_more()
        stack.start_part("ingest_2")
        file.write_text(whole, encoding="utf-8")
        reload(stack)
        assert eventually(lambda: balancer_sees(stack, 2), 30)
    assert sent.again == []
    each_counts_once(stack, sent)


def test_the_balancer_is_killed(stack: Stack) -> None:
    with load(stack) as sent:
        stack.kill("haproxy")
        stack.wait_ready("haproxy")
    each_counts_once(stack, sent)


def test_in_open_access_the_balancer_hides_no_stranger(stack: Stack) -> None:
    event = {"events": [{"video_id": "A"}]}
    with httpx2.Client(base_url=stack.endpoints["ingest"], trust_env=False) as client:
        assert client.post("/v1/events", json=event).status_code == 202
        foreign = client.post("/v1/events", json=event, headers={"X-Forwarded-For": "203.0.113.9"})
        assert (foreign.status_code, foreign.json()["error"].partition(" is foreign")[0]) == (
            403,
            "X-Forwarded-For: 203.0.113.9",
        )
        assert client.post("/v1/events", json=event, headers={"Host": "evil.example"}).status_code == 403


def test_tls_is_1_3_with_http_2_and_its_certificate_is_for_localhost(stack: Stack) -> None:
    certificate = stack.layout.certificate.with_suffix(".crt")
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(["h2", "http/1.1"])
    address = (HOST, stack.ports["ingest_tls"])
    with socket.create_connection(address) as plain, context.wrap_socket(plain, server_hostname="localhost") as secured:
        assert (secured.version(), secured.selected_alpn_protocol()) == ("TLSv1.3", "h2")
    context.set_alpn_protocols(["http/1.1"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(address) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")
    url = f"https://localhost:{stack.ports['ingest_tls']}"
    verified = ssl.create_default_context(cafile=str(certificate))
    with httpx2.Client(base_url=url, verify=verified, trust_env=False) as client:
        assert client.get("/readyz").text.startswith("ready")
