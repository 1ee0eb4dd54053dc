"""Reads counts that Cassandra no longer keeps from history in the object store. Never blocks the loop; knows no HTTP.

Callers name the manifest from which the tables were written, so that rows and files belong to one state of history.
They must check beforehand that history reaches as far as they ask.
"""

import array
import asyncio
import contextlib
import functools
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from services.query.cache.held import Held
from services.query.cache.single_flight import SingleFlight
from services.query.counts.breaker import Breaker
from services.query.counts.completeness import HistoryAwayError
from services.query.counts.guard import Guard, NoAnswerError
from services.query.counts.spans import Span
from settings.durations import HOUR_MS
from udfs.logic.history.manifest import HOURLY, HOURS_PER_DAY, OF_ALL_SHARDS, HistoryError, Manifest, hour_start
from udfs.logic.kernels.shards import shard_of
from udfs.stores.history_reader import HistoryFiles

LOG = structlog.get_logger("query")
# The manifest in force, and earlier ones for answers that began before it came into force.
MANIFESTS_KEPT = 3
THREADS = 16
FAILURES_MAX = 3
PROBE_FIRST_S, PROBE_MOST_S = 1.0, 10.0
# How many files one request reads at a time, so that a large request does not keep the others waiting.
FILES_AT_ONCE = 8
T = TypeVar("T")


# The time in ms since 1970 and the views of each row, one after the other.
Rows: TypeAlias = "array.array[int]"
# Of held rows beside the rows and the names: objects of Python.
HELD_BYTES = 400


class TooManyFilesError(ValueError):
    """One request would have to read more files of history than it may; `start` is where its earliest span begins."""

    def __init__(self, files: int, files_max: int, start: datetime) -> None:
        super().__init__(f"asks for {files} files of history, more than {files_max}; narrow the range")
        self.start = start


class Daily(NamedTuple):
    """Rows of one video or channel: tables by day since 1970, and the hours or days of which there is no such file.

    History has counted the views of those hours or days (`lacking`), but not by what was asked for.
    """

    tables: dict[int, list[pa.Table]]
    lacking: list[int]
    lacking_per_day: int = 1

    @property
    def not_counted(self) -> list[int]:
        """The days of which anything is lacking."""
        return sorted({at // self.lacking_per_day for at in self.lacking})


class History:
    """Reads minutes and hours of single videos. One request may read at most `files_max` files.

    `timeout_s` is how long the store may take for a manifest, or for the rows of a video in one file. A thread in which
    the store hangs cannot be stopped: without the breaker a few questions would occupy all threads. `answer_timeout_s`
    is how long all files of one question may take. Rows of videos that were read from files are held within
    `held_bytes_max`.
    """

    def __init__(
        self,
        files: HistoryFiles,
        *,
        files_max: int,
        timeout_s: float = 5.0,
        answer_timeout_s: float = 20.0,
        held_bytes_max: int = 0,
    ) -> None:
        self._files = files
        self._held: Held[tuple[str, str, str], Rows] = Held(held_bytes_max, _size)
        self._answer_timeout_s = answer_timeout_s
        breaker = Breaker(FAILURES_MAX, PROBE_FIRST_S, PROBE_MOST_S)
        self._guard = Guard("the object store", breaker, (StoreError,), timeout_s=timeout_s, at_once=THREADS)
        self._files_max = files_max
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="history")
        # Manifests by name. A manifest never changes.
        self._known: dict[str, Manifest] = {}
        self._reading: SingleFlight[str, Manifest] = SingleFlight()

    @property
    def is_away(self) -> bool:
        """Whether the object store is known not to answer now."""
        return self._guard.is_open

    def stop(self) -> None:
        """Cancel the reads that wait, and do not wait for those under way."""
        self._guard.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def rows(
        self, manifest: str, data_set: str, video_id: str, kind: str, spans: Sequence[Span]
    ) -> list[tuple[datetime, int]]:
        """(minute or hour, views) of a video within these spans, in no order. Times are naive UTC, like Cassandra's.

        `manifest` is the name of a manifest; "" stands for one without rows. `data_set` is "minutes" or "hours".
        Raises HistoryAwayError, and TooManyFilesError if the rows are in more than `files_max` files.
        """
        if not spans or not manifest:
            return []
        async with self._within(_around(spans)):
            return await self._rows(await self._manifest(manifest), data_set, video_id, kind, spans)

    @contextlib.asynccontextmanager
    async def _within(self, unknown: Span) -> AsyncIterator[None]:
        """All reads of one answer, of these times. Raises HistoryAwayError for what they raise."""
        with _away(unknown):
            try:
                async with asyncio.timeout(self._answer_timeout_s):
                    yield
            except TimeoutError as error:
                raise NoAnswerError(
                    f"the object store is slow: not all was read within {self._answer_timeout_s:g} s; narrow the range"
                ) from error

    async def files(self, manifest: str, data_set: str, video_id: str, spans: Sequence[Span]) -> int:
        """From how many files `rows` would read. Raises HistoryAwayError."""
        if not spans or not manifest:
            return 0
        with _away(_around(spans)):
            return len(_hours_of(await self._manifest(manifest), data_set, video_id, spans))

    async def _rows(
        self, manifest: Manifest, data_set: str, video_id: str, kind: str, spans: Sequence[Span]
    ) -> list[tuple[datetime, int]]:
        hours_of = _hours_of(manifest, data_set, video_id, spans)
        if len(hours_of) > self._files_max:
            raise TooManyFilesError(len(hours_of), self._files_max, min(spans)[0])
        found: list[tuple[datetime, int]] = []

        def take(path: str, rows: Rows) -> None:
            for at_ms, views in zip(rows[::2], rows[1::2], strict=True):
                if at_ms // HOUR_MS in hours_of[path]:
                    found.append((datetime.fromtimestamp(at_ms / 1000, UTC), views))

        async def read(path: str) -> None:
            call = functools.partial(self._files.rows, path, data_set, video_id, kind)
            rows = array.array("q", itertools.chain.from_iterable(await self._in_thread(call)))
            self._held.put((path, video_id, kind), rows)
            take(path, rows)

        not_held = []
        for path in hours_of:
            # A file never changes, and a path is never used again.
            rows = self._held.get((path, video_id, kind))
            if rows is None:
                not_held.append(path)
            else:
                take(path, rows)
        await _at_once(read, not_held)
        return [
            (at.replace(tzinfo=None), views) for at, views in found if any(start <= at < end for start, end in spans)
        ]

    async def by_day(
        self, manifest: str, data_set: str, subject: str, kind: str, days: range, columns: Sequence[str]
    ) -> Daily:
        """These columns of the rows of a video or channel, by day. Days are numbers since 1970. Raises as `rows`."""
        if not manifest:
            return Daily({}, [])
        async with self._within((hour_start(days.start * HOURS_PER_DAY), hour_start(days.stop * HOURS_PER_DAY))):
            return await self._by_day(await self._manifest(manifest), data_set, subject, kind, days, columns)

    async def _by_day(
        self, manifest: Manifest, data_set: str, subject: str, kind: str, days: range, columns: Sequence[str]
    ) -> Daily:
        is_hourly = data_set in HOURLY
        per_day = HOURS_PER_DAY if is_hourly else 1
        shard = 0 if data_set in OF_ALL_SHARDS else shard_of(subject, manifest.shards)
        files, whole = manifest.files[data_set], manifest.files["hours" if is_hourly else "days"]
        times_of: dict[str, set[int]] = {}
        lacking = []
        for at in range(days.start * per_day, days.stop * per_day):
            path = files.get(at, {}).get(shard)
            if path is not None:
                times_of.setdefault(path, set()).add(at)
            elif at in whole:
                lacking.append(at)
        if len(times_of) > self._files_max:
            raise TooManyFilesError(len(times_of), self._files_max, hour_start(days.start * HOURS_PER_DAY))
        tables: dict[int, list[pa.Table]] = {}

        async def read(path: str) -> None:
            named = list(dict.fromkeys([*columns, "hour"])) if is_hourly else columns
            table = await self._in_thread(functools.partial(self._files.table, path, subject, kind, named))
            times = times_of[path]
            if is_hourly:
                # A file may still hold an hour whose rows are in another file by now.
                hours = pc.divide(table["hour"].cast("int64"), HOUR_MS)
                table = table.filter(pc.is_in(hours, pa.array(sorted(times)))).select(columns)
            tables.setdefault(min(times) // per_day, []).append(table)

        await _at_once(read, times_of)
        return Daily(tables, lacking, per_day)

    async def _manifest(self, name: str) -> Manifest:
        if name in self._known:
            return self._known[name]
        # Requests that come while it is being read wait for that read, so that a store that hangs is asked only once.
        return await self._reading.get(name, functools.partial(self._read_manifest, name))

    async def _read_manifest(self, name: str) -> Manifest:
        found = self._known[name] = await self._in_thread(functools.partial(self._files.manifest, name))
        for old in list(self._known)[:-MANIFESTS_KEPT]:
            del self._known[old]
        return found

    async def _in_thread(self, call: Callable[[], T]) -> T:
        async def in_thread() -> T:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, call)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise StoreError(str(error)) from error

        return await self._guard.ask(in_thread)


class StoreError(RuntimeError):
    """The object store does not answer."""


async def _at_once(read: Callable[[str], Awaitable[None]], paths: Iterable[str]) -> None:
    """Read all files, FILES_AT_ONCE at a time. If one cannot be read, the others are given up."""
    waiting = iter(paths)

    async def take() -> None:
        for path in waiting:
            await read(path)

    readers = [asyncio.create_task(take()) for _ in range(FILES_AT_ONCE)]
    try:
        await asyncio.gather(*readers)
    finally:
        for reader in readers:
            reader.cancel()


@contextlib.contextmanager
def _away(unknown: Span) -> Iterator[None]:
    try:
        yield
    except NoAnswerError as error:
        raise HistoryAwayError(str(error), unknown) from error
    # The last two are what pyarrow raises for bytes that are not those of the file.
    except (FileNotFoundError, HistoryError, msgspec.MsgspecError, pa.ArrowException, ValueError) as error:
        if isinstance(error, TooManyFilesError):
            raise
        LOG.warning("history not read", error=str(error))
        raise HistoryAwayError(f"history cannot be read: {error}", unknown) from error


def _around(spans: Sequence[Span]) -> Span:
    """From the start of the first to the end of the last."""
    return min(spans)[0], max(end for _, end in spans)


def _hours_of(manifest: Manifest, data_set: str, video_id: str, spans: Sequence[Span]) -> dict[str, set[int]]:
    """The hours within these spans by the file that has them.

    Hours may share a file, and a file may still hold an hour whose rows are in another file by now.
    """
    shard = shard_of(video_id, manifest.shards)
    found: dict[str, set[int]] = {}
    for hour in _hours(spans):
        path = manifest.files[data_set].get(hour, {}).get(shard)
        if path is not None:
            found.setdefault(path, set()).add(hour)
    return found


def _hours(spans: Sequence[Span]) -> list[int]:
    """The hours since 1970 that these spans touch, in order."""
    found: set[int] = set()
    for start, end in spans:
        found.update(range(int(start.timestamp()) // 3600, -int(-end.timestamp() // 3600)))
    return sorted(found)


def _size(name: tuple[str, str, str], rows: Rows) -> int:
    return HELD_BYTES + sum(map(len, name)) + rows.itemsize * len(rows)
