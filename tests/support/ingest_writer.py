"""A double of ingest's writer, for tests of what ingest answers without a Kafka."""

import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.ingest import app as ingest_app
from services.ingest.writer import Share
from settings import Settings

BATCH_ID = bytes(range(16))


class FakeWriter:
    """Notes what it is given in `written`, and acknowledges it unless `failure` says otherwise.

    A test changes the class's own fields by monkeypatch, because the application makes the object.
    """

    trouble: str | None = None
    partial_trouble: tuple[str, ...] = ()
    failure: str | None = None
    events_in_flight = 0
    is_misconfigured = False
    is_slow = False

    def __init__(self, *_arguments: object, **_named: object) -> None:
        self.written: list[Any] = []

    def write(self, packed: Any, *, has_overflow: bool = False) -> list[Share]:
        self.written.append(packed)
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        done.set_result(self.failure)
        return [Share(done, [index for indexes in packed.indexes for index in indexes], BATCH_ID)]


class StartedWriter(FakeWriter):
    """One that the application starts and stops."""

    def start(self) -> None:
        """Start nothing."""

    async def stop(self) -> None:
        """Stop nothing."""


def installed(monkeypatch: pytest.MonkeyPatch) -> FakeWriter:
    """The one writer of all ingest applications that the test makes from now on."""
    made = FakeWriter()
    monkeypatch.setattr(ingest_app, "EventWriter", lambda *_arguments, **_named: made)
    return made


def ingest_client(settings: Settings | None = None) -> TestClient:
    """A client of the public port, as one on the same machine is."""
    return TestClient(ingest_app.build_service(settings or Settings()).served, base_url="http://localhost")
