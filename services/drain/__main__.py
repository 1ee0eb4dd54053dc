"""`python -m services.drain`: a drainer of overflow, set by VIEW_COUNTS_* variables. Any number of them may run.

While there is nothing to drain, it lists the folder and needs neither Kafka nor Cassandra nor the kernels.
"""

import signal
import socket
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from confluent_kafka import KafkaException
from prometheus_client import start_http_server

from connectors.kafka_admin import TopicMismatchError
from connectors.overflow_hints import Hints, hints_of
from connectors.secret_files import SecretFileError
from services.drain.metrics import DrainMetrics
from settings import Settings
from udfs.stores.overflow_objects import OverflowObjects

if TYPE_CHECKING:
    from services.drain.running import Running

LOG = structlog.get_logger("drain")
# What waiting or an operator mends.
TROUBLES = (
    BotoCoreError,
    ClientError,
    KafkaException,
    TopicMismatchError,
    SecretFileError,
    OSError,
)


def main() -> None:
    """Drain until SIGTERM or SIGINT."""
    settings = Settings()
    if not settings.overflow.path:
        sys.exit("overflow.path is empty, so there is nothing to drain: set it as for ingest")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    producer_id = f"drain-{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    metrics = DrainMetrics()
    start_http_server(settings.drain.private_port, settings.drain.private_host, metrics.registry)
    _Drain(settings, metrics, hints_of(settings, producer_id), producer_id).run(ended)


class _Drain:
    """The loop of a drainer."""

    def __init__(self, settings: Settings, metrics: DrainMetrics, hints: Hints, producer_id: str) -> None:
        self._settings = settings
        self._metrics = metrics
        self._hints = hints
        self._producer_id = producer_id
        self._objects = OverflowObjects(settings.s3, settings.overflow)
        self._running: Running | None = None

    def run(self, ended: threading.Event) -> None:
        """Take turns until `ended` is set."""
        said: str | None = None
        while not ended.is_set():
            try:
                self._turn(ended)
            except TROUBLES as error:
                text = f"{type(error).__name__}: {error}"
                if text != said:
                    LOG.warning("cannot drain now", reason=text)
                said = text
            else:
                said = None
            self._hints.wait(self._settings.overflow.list_s, ended)
        if self._running is not None:
            self._running.stop()

    def _turn(self, ended: threading.Event) -> None:
        if self._running is None:
            names, others = self._objects.known_names()
            self._metrics.waiting(names, time.time_ns() // 1_000_000)
            if not names and not others:
                return
            # Imported when there is work: kernels and drivers take seconds and a hundred megabytes.
            from services.drain.running import Running  # noqa: PLC0415

            self._running = Running(
                self._settings, self._objects, self._metrics, self._hints, ended, producer_id=self._producer_id
            )
        self._running.turn()


if __name__ == "__main__":
    main()
