"""A double of ingest's writer, for tests of what ingest answers without a Kafka."""

import asyncio
from typing import Any

from services.ingest.writer import Share

BATCH_ID = bytes(range(16))


class FakeWriter:
    """Notes what it is given in `written`, and acknowledges it unless `failure` says otherwise.

    A test changes the class's own fields by monkeypatch, because the application makes the object.
    """

    trouble: str | None = None
    partial_trouble: tuple[str, ...] = ()
    failure: str | None = None
    events_in_flight = 0

    def __init__(self, *_arguments: object, **_named: object) -> None:
        self.written: list[Any] = []

    def write(self, packed: Any) -> list[Share]:
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
