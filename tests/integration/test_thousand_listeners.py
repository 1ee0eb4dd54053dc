"""A thousand listeners of one process of query: all of them hear a view, and the end. It prints what they cost."""

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from connectors.cassandra import connect, migrate
from settings import CassandraSettings, HistorySettings
from tests.support.registers import put_register
from tests.support.services import service
from tools.stack import Stack
from tools.stack.machine.ports import HOST

LISTENERS = 1000
# As many partitions as are read at a time.
VIDEOS = 500
PATIENCE_S = 240.0
QUIET_S = 10.0
INSERT = "INSERT INTO views_by_minute (video_id, kind, day, minute, views) VALUES (%s, 'view', %s, %s, %s)"


@pytest.fixture
def session(shared_stack: Stack) -> Iterator[Any]:
    settings = CassandraSettings(hosts=HOST, port=shared_stack.ports["cassandra"], keyspace="listened")
    migrate([HOST], settings.port, settings)
    opened = connect(settings)
    put_register(opened, HistorySettings().path)
    yield opened
    opened.cluster.shutdown()


class Listening:
    """One stream, and what it has heard."""

    def __init__(self, video_id: str) -> None:
        self.video_id = video_id
        self.views = -1
        self.heard: list[str] = []

    async def run(self, host: str, port: int) -> None:
        """Listen until the stream ends."""
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET /v1/videos/{self.video_id}/live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        while line := await reader.readline():
            if line.startswith(b"event: "):
                self.heard.append(line.split()[1].decode())
            elif line.startswith(b"id: "):
                self.views = int(line.rpartition(b"-")[2])
        writer.close()


@pytest.mark.nightly
def test_a_thousand_listeners_hear_every_view_and_the_end(
    shared_stack: Stack, session: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {**shared_stack.process_environment(), "VIEW_COUNTS_CASSANDRA_KEYSPACE": "listened"}
    listeners = [Listening(f"video-{number % VIDEOS}") for number in range(LISTENERS)]
    minute = datetime.now(UTC).replace(second=0, microsecond=0)

    def view(number: int) -> None:
        for place in range(VIDEOS):
            session.execute(INSERT, (f"video-{place}", minute.date(), minute, number))

    async def all_have(number: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while any(one.views != number for one in listeners):
                await asyncio.sleep(0.1)

    async def run(url: str, leave: Any) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        streams = []
        for one in listeners:
            streams.append(asyncio.create_task(one.run(address.hostname, address.port)))
            # Not all of them at once: a process takes so many questions at a time.
            await asyncio.sleep(0.005)
        await all_have(0)
        await asyncio.to_thread(view, 1)
        await all_have(1)
        before_s, began_s = _cpu_s(url), time.monotonic()
        await asyncio.sleep(QUIET_S)
        share = (_cpu_s(url) - before_s) / (time.monotonic() - began_s)
        with capsys.disabled():
            print(f"\n{LISTENERS} listeners of {VIDEOS} videos, nothing changes: {share:.0%} of a core")
        leaving = asyncio.create_task(asyncio.to_thread(leave))
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*streams)
        await leaving

    running = service("query", variables)
    url = running.__enter__()
    asyncio.run(run(url, lambda: running.__exit__(None, None, None)))
    assert {one.heard[-1] for one in listeners} == {"end"}
    assert all("lowered" not in one.heard and "away" not in one.heard for one in listeners)


def _cpu_s(url: str) -> float:
    """The CPU time of the process that listens at this port."""
    port = urlsplit(url).port
    assert port is not None
    sockets = {
        f"socket:[{line.split()[9]}]"
        for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    }
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(file.readlink()) in sockets for file in (process / "fd").iterdir()):
                fields = (process / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
    raise AssertionError(f"nobody listens at {url}")
