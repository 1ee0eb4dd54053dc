"""What Cassandra no longer keeps, from history in the object store, without blocking the event loop. Knows no HTTP.

History has every hour from its first to the last that is complete. Who asks says up to when it is to be answered from
there; if it does not reach as far, that is an error and no zero.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog

from services.query.parameters import ParameterError
from settings.durations import HOUR_MS
from udfs.logic.history import HistoryError, Manifest, hour_start
from udfs.logic.shards import shard_of
from udfs.sources.history import HistoryFiles

LOG = structlog.get_logger("query")
HOUR = timedelta(hours=1)
# What a manifest names is there until the next rollup, an hour later.
MANIFEST_FRESH_S = 5.0
THREADS = 16
# Of one request, so that a large one does not keep the others waiting.
FILES_AT_ONCE = 8
# From a time, UTC, to before another.
Span = tuple[datetime, datetime]
T = TypeVar("T")


class HistoryAwayError(ConnectionError):
    """What is asked for is in history alone, and that cannot be read now. Worth trying again."""


def inside(spans: Sequence[Span], of: Span) -> list[Span]:
    """What of these spans lies in that one."""
    parts = ((max(start, of[0]), min(end, of[1])) for start, end in spans)
    return [part for part in parts if part[0] < part[1]]


def outside(spans: Sequence[Span], of: Span) -> list[Span]:
    """What of these spans does not lie in that one."""
    parts = (part for start, end in spans for part in ((start, min(end, of[0])), (max(start, of[1]), end)))
    return [part for part in parts if part[0] < part[1]]


class History:
    """Minutes and hours of single videos. `files_max`: files that one request may read."""

    def __init__(self, files: HistoryFiles, *, files_max: int) -> None:
        self._files = files
        self._files_max = files_max
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="history")
        self._reading: asyncio.Task[Manifest | None] | None = None
        self._read_s = float("-inf")
        self._known: Manifest | None = None

    def stop(self) -> None:
        """Wait for no read."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def reach(self, spans: Sequence[Span], cut: datetime) -> Span | None:
        """From when to when history answers for these spans: what it has of the time before the cut.

        None when no hour is complete in it yet. Is not looked for when they ask for nothing before the cut. Raises
        HistoryAwayError when they ask for time before the cut that is not complete, and hours before it are.
        """
        if all(start >= cut for start, _ in spans):
            return cut, cut
        manifest = await self._manifest(MANIFEST_FRESH_S)
        if manifest is None or manifest.through_hour == 0:
            return None
        through = min(cut, manifest.complete_through)
        if inside(spans, (through, cut)):
            raise HistoryAwayError(
                f"history is complete through {through:%Y-%m-%dT%H:%MZ}, and what is older than {cut:%Y-%m-%dT%H:%MZ} "
                "is answered from it; the rollup is behind"
            )
        return min(hour_start(manifest.from_hour), through), through

    async def through(self) -> datetime | None:
        """Up to when it is complete; None before the first rollup. Raises HistoryAwayError."""
        manifest = await self._manifest(MANIFEST_FRESH_S)
        return None if manifest is None or manifest.through_hour == 0 else manifest.complete_through

    async def rows(self, data_set: str, video_id: str, kind: str, spans: Sequence[Span]) -> list[tuple[datetime, int]]:
        """(minute or hour, views) of a video in these spans, times as naive UTC as Cassandra's are; not in order.

        Raises HistoryAwayError, and ParameterError when that is in too many files.
        """
        if not spans:
            return []
        try:
            return await self._rows(data_set, video_id, kind, spans, MANIFEST_FRESH_S)
        except FileNotFoundError:
            # A rollup has replaced the file since the manifest was read.
            with _away():
                return await self._rows(data_set, video_id, kind, spans, 0)

    async def _rows(
        self, data_set: str, video_id: str, kind: str, spans: Sequence[Span], fresh_s: float
    ) -> list[tuple[datetime, int]]:
        manifest = await self._manifest(fresh_s)
        if manifest is None:
            raise FileNotFoundError("the manifest has gone")
        shard = shard_of(video_id, manifest.shards)
        # Hours may share a file, and a file may hold an hour that has another one by now.
        hours_of: dict[str, set[int]] = {}
        for hour in _hours(spans):
            path = manifest.files[data_set].get(hour, {}).get(shard)
            if path is not None:
                hours_of.setdefault(path, set()).add(hour)
        if len(hours_of) > self._files_max:
            start = min(spans)[0].isoformat()
            reason = f"asks for {len(hours_of)} files of history, more than {self._files_max}; narrow the range"
            raise ParameterError("from", start, reason)
        found: list[tuple[datetime, int]] = []
        waiting = iter(hours_of.items())

        async def read() -> None:
            for path, hours in waiting:
                call = functools.partial(self._files.rows, path, data_set, video_id, kind)
                for at_ms, views in await self._in_thread(call):
                    if at_ms // HOUR_MS in hours:
                        found.append((datetime.fromtimestamp(at_ms / 1000, UTC), views))

        readers = [asyncio.create_task(read()) for _ in range(min(FILES_AT_ONCE, len(hours_of)))]
        try:
            await asyncio.gather(*readers)
        finally:
            for reader in readers:
                reader.cancel()
        return [
            (at.replace(tzinfo=None), views) for at, views in found if any(start <= at < end for start, end in spans)
        ]

    async def _manifest(self, fresh_s: float) -> Manifest | None:
        """As it was at most so long ago."""
        if time.monotonic() - self._read_s < fresh_s:
            return self._known
        # Who comes while it is read waits for that: the store, when it does not answer, is not asked by each.
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_manifest())
        return await asyncio.shield(self._reading)

    async def _read_manifest(self) -> Manifest | None:
        with _away():
            self._known = await self._in_thread(self._files.manifest)
        self._read_s = time.monotonic()
        return self._known

    async def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except FileNotFoundError:
            raise
        except OSError as error:
            LOG.warning("history not read", error=str(error))
            raise HistoryAwayError(f"the object store does not answer: {type(error).__name__}") from error


@contextlib.contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, HistoryError) as error:
        LOG.warning("history not read", error=str(error))
        raise HistoryAwayError(f"history cannot be read: {error}") from error


def _hours(spans: Sequence[Span]) -> list[int]:
    """The hours since 1970 that these spans touch, in order."""
    found: set[int] = set()
    for start, end in spans:
        found.update(range(int(start.timestamp()) // 3600, -int(-end.timestamp() // 3600)))
    return sorted(found)
