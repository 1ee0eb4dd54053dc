"""Cassandra, the object store, Redis and a process of query are paused and killed in turn while clients ask.

Every answer is held against what the test has written: a number is right, or the answer says that it is old or that it
lacks it. When a store is back, so is the service, without a restart.
"""

import contextlib
import itertools
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import psutil
import pyarrow as pa
import pytest

from connectors.cassandra import connect, migrate
from settings import CassandraSettings, Settings
from tests.support.history import write_history
from tests.support.registers import applied_of, put_manifest, put_register
from tests.support.repeating import Repeating
from tests.support.services import service
from tests.support.waiting import eventually
from tools.stack import Stack, StackOptions
from tools.stack.machine.ports import HOST
from tools.stack.object_store import s3_settings
from udfs.sinks.history_rows import HistoryRows
from udfs.stores.archive import filesystem
from udfs.stores.history_store import HistoryStore

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
VIDEOS = [f"video-{number}" for number in range(5)]
# Older than the table of hours keeps, so that only Parquet has them. Each fault has a day that nobody asked for before.
OLD_DAYS = 12
# Of rows whose hours are in the table, and of those just before them that are in Parquet.
EDGE_HOURS = 6
BASE = 1000
TIMEOUT_S = 2.0
CLIENT_TIMEOUT_S = 60.0
CLIENTS = 4
# What is asked for again within seconds may come from what the process holds.
HELD_S = 5.0
ENOUGH = 30
INSERT = "INSERT INTO views_by_minute (video_id, kind, day, minute, views) VALUES (%s, 'view', %s, %s, %s)"


def views_of(video: str, at: datetime) -> int:
    """The views of an hour, such that no two hours are alike."""
    return int(video.removeprefix("video-")) * 10_000 + int(at.timestamp() // 3600) % 5000 + 1


class Truth:
    """What was written: hours that do not change, and a total that grows."""

    def __init__(self, now: datetime) -> None:
        self.through = now.replace(minute=0, second=0, microsecond=0) - HOUR
        # The service moves its border with its clock, and the test may last beyond the hour.
        self.edge = now.replace(minute=0, second=0, microsecond=0) - 99 * DAY
        self.old = [
            (now - (120 + ago) * DAY).replace(hour=0, minute=0, second=0, microsecond=0) for ago in range(OLD_DAYS)
        ]
        self._lock = threading.Lock()
        # When a number was acknowledged, the oldest first.
        self._written: list[tuple[float, int]] = [(0.0, 0)]
        self.begun = 0

    def wrote(self, number: int) -> None:
        with self._lock:
            self._written.append((time.time(), number))

    def least(self, at: float) -> int:
        """What was there at that time, if not more."""
        with self._lock:
            return max(number for written, number in self._written if written <= at)


class Growing(Repeating):
    """Writes ever more views of a minute for each video. While Cassandra is away, nothing is acknowledged."""

    def __init__(self, session: Any, truth: Truth) -> None:
        super().__init__(0.1)
        self._session = session
        self._truth = truth
        self._minute = truth.through + timedelta(minutes=1)

    def step(self) -> None:
        number = self._truth.begun = self._truth.begun + 1
        with contextlib.suppress(Exception):
            for video in VIDEOS:
                self._session.execute(INSERT, (video, self._minute.date(), self._minute, number), timeout=10)
            self._truth.wrote(number)


@dataclass
class Seen:
    """How many answers there were of which sort, and what was wrong with any."""

    sorts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Client:
    """Asks and holds what is answered against the truth. `url` may change."""

    def __init__(self, truth: Truth, seen: Seen, url: str) -> None:
        self._truth = truth
        self._seen = seen
        self.url = url

    def total(self, video: str) -> str:
        began = time.time()

        def check(answer: dict[str, Any]) -> bool:
            since = datetime.fromisoformat(answer["as_of"]).timestamp() if "as_of" in answer else began
            least = self._truth.least(since - HELD_S)
            return least <= int(answer["views"]) - BASE <= self._truth.begun

        return self._ask(f"/v1/videos/{video}/views", {}, check)

    def hours(self, video: str, start: datetime, count: int) -> str:
        """Hours of any age. None of them changes."""
        expected = [views_of(video, start + n * HOUR) for n in range(count)]

        def check(answer: dict[str, Any]) -> bool:
            found = [point["views"] for point in answer["points"]]
            if None in found and not answer.get("degraded"):
                return False
            if any(point["complete"] and point["views"] is None for point in answer["points"]):
                return False
            return len(found) == count and all(
                views in (None, right) for views, right in zip(found, expected, strict=True)
            )

        asked = {"granularity": "hour", "from": start.isoformat(), "to": (start + count * HOUR).isoformat()}
        return self._ask(f"/v1/videos/{video}/series", asked, check)

    def edge(self, video: str) -> str:
        """Half from Parquet and half from the table."""
        return self.hours(video, self._truth.edge - EDGE_HOURS * HOUR, 2 * EDGE_HOURS)

    def ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=CLIENT_TIMEOUT_S, trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    def _ask(self, path: str, asked: dict[str, str], check: Callable[[dict[str, Any]], bool]) -> str:
        try:
            answer = httpx2.get(f"{self.url}{path}", params=asked, timeout=CLIENT_TIMEOUT_S, trust_env=False)
        except httpx2.TimeoutException:
            sort = "hangs"
            self._seen.wrong.append(f"{path}: no answer within {CLIENT_TIMEOUT_S:g} s")
        except httpx2.TransportError:
            sort = "broken"
        else:
            sort = self._sort(path, answer, check)
        self._seen.sorts[sort] += 1
        return sort

    def _sort(self, path: str, answer: httpx2.Response, check: Callable[[dict[str, Any]], bool]) -> str:
        if answer.status_code == 503:
            if "retry-after" not in answer.headers:
                self._seen.wrong.append(f"{path}: 503 without Retry-After")
            return "unknown"
        if answer.status_code != 200 or not check(answer.json()):
            self._seen.wrong.append(f"{path}: {answer.status_code} {answer.text:.2000}")
        found = answer.json()
        return "old" if "as_of" in found else "partial" if "degraded" in found else "fresh"


class Load:
    """Clients that ask one question after another until the context ends."""

    def __init__(self, client: Client, truth: Truth) -> None:
        self._client = client
        self._truth = truth
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(CLIENTS)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, seed: int) -> None:
        choose = random.Random(seed)
        while not self._ended.is_set():
            video = choose.choice(VIDEOS)
            question = choose.randrange(3)
            if question == 0:
                self._client.total(video)
            elif question == 1:
                self._client.edge(video)
            else:
                self._client.hours(video, choose.choice(self._truth.old[:2]), 24)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    options = StackOptions(
        home=tmp_path_factory.mktemp("query-stores"),
        ports="free",
        parts=("cassandra", "seaweedfs", "redis"),
        graceful_stop=False,
    )
    with Stack(options) as running:
        yield running


@pytest.fixture(scope="module")
def settings(stack: Stack) -> Settings:
    return Settings(
        cassandra=CassandraSettings(hosts=HOST, port=stack.ports["cassandra"]),
        s3=s3_settings(stack),
    )


@pytest.fixture(scope="module")
def session(settings: Settings) -> Iterator[Any]:
    migrate([HOST], settings.cassandra.port, settings.cassandra)
    opened = connect(settings.cassandra)
    yield opened
    opened.cluster.shutdown()


@pytest.fixture(scope="module")
def truth(settings: Settings, session: Any) -> Truth:
    made = Truth(datetime.now(UTC))
    starts = [made.edge + n * HOUR for n in range(-EDGE_HOURS - 2, 0)]
    starts += [day + n * HOUR for day in made.old for n in range(24)]
    # Of the table's hours as well: the service asks Parquet for them as soon as its clock has passed the hour.
    later = [made.edge + n * HOUR for n in range(EDGE_HOURS + 2)]
    counts = {
        (video, "view", int(start.timestamp()) // 60): views_of(video, start)
        for video in VIDEOS
        for start in (*starts, *later)
    }
    store = HistoryStore(filesystem(settings.s3), settings.history.path)
    hour = int(made.through.timestamp()) // 3600
    manifest = write_history(store, counts, shards=1, from_hour=0, through_hour=hour)
    put_register(session, settings.history.path, applied_of(put_manifest(store, manifest), manifest))

    def table(views: Callable[[str], int]) -> pa.Table:
        rows = len(VIDEOS)
        return pa.table(
            {"video_id": VIDEOS, "kind": ["view"] * rows, "views": list(map(views, VIDEOS)), "late_added": [0] * rows}
        )

    with contextlib.closing(HistoryRows(settings.cassandra, token=1_000_000)) as rolled:
        for start in later:
            rolled.hours(table(lambda video, start=start: views_of(video, start)), start)  # type: ignore[misc]
        rolled.totals(table(lambda _video: BASE), made.through)
    return made


@contextlib.contextmanager
def query(stack: Stack) -> Iterator[tuple[str, psutil.Process]]:
    """A process of query, and where it answers."""
    before = {one.pid for one in psutil.Process().children()}
    variables = {
        **stack.process_environment(),
        "VIEW_COUNTS_QUERY_CASSANDRA_TIMEOUT_S": str(TIMEOUT_S),
        "VIEW_COUNTS_QUERY_HISTORY_TIMEOUT_S": str(TIMEOUT_S),
    }
    with service("query", variables) as url:
        (process,) = (one for one in psutil.Process().children() if one.pid not in before)
        yield url, process


@pytest.mark.nightly
def test_no_number_is_wrong_and_all_is_back_by_itself(stack: Stack, session: Any, truth: Truth) -> None:
    seen = Seen()
    days = itertools.count(2)

    def is_back(client: Client) -> bool:
        video = VIDEOS[0]
        sorts = (client.total(video), client.edge(video), client.hours(video, truth.old[0], 24))
        return client.ready() and set(sorts) == {"fresh"}

    def answered(client: Client, sorts: set[str]) -> bool:
        """Whether there are answers of these sorts, and many answers since, so that nobody hangs."""
        before = seen.sorts.total()
        return eventually(lambda: all(seen.sorts[sort] for sort in sorts)) and eventually(
            lambda: seen.sorts.total() - before >= ENOUGH
        )

    with query(stack) as (url, process), Growing(session, truth):
        client = Client(truth, seen, url)
        assert eventually(lambda: is_back(client)), seen
        with Load(client, truth):
            for part, sorts in (("redis", {"fresh"}), ("cassandra", {"old"}), ("seaweedfs", {"fresh"})):
                for harm in (signal.SIGSTOP, signal.SIGKILL):
                    seen.sorts.clear()
                    stack.kill(part, harm)
                    if harm == signal.SIGSTOP:
                        assert answered(client, sorts), (part, seen)
                        if part == "seaweedfs":
                            # Of a day that nobody has asked for yet, and of a range whose younger half is in the table.
                            assert client.hours(VIDEOS[1], truth.old[next(days)], 24) == "unknown"
                        if part == "cassandra":
                            assert not client.ready()
                        stack.kill(part, signal.SIGCONT)
                    stack.wait_ready(part)
                    assert eventually(lambda: is_back(client)), (part, harm, seen)
                    assert process.is_running()
            # A process that stood still answers what is right when it goes on.
            process.suspend()
            time.sleep(2 * TIMEOUT_S)
            process.resume()
            assert eventually(lambda: is_back(client)), seen
            process.kill()
            assert eventually(lambda: seen.sorts["broken"] > 0)
            with query(stack) as (second, _):
                client.url = second
                assert eventually(lambda: is_back(client)), seen
        assert not seen.wrong, seen.wrong[:3]
