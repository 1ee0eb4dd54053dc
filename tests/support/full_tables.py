"""Tables that have a row for every question of the query service, and a history of no view. No server."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.fs
from datasketches import hll_sketch
from starlette.testclient import TestClient

from schemas.ledger import LEDGER_COLUMNS
from services.query.counts.cold import Daily, History
from settings import Settings
from tests.support.registers import put_manifest, register_of
from tests.support.tables import Tables
from udfs.logic.history.manifest import day_number, no_history
from udfs.logic.history.register import Applied, Register
from udfs.logic.history.sketches import LG_K
from udfs.stores.history_reader import HistoryFiles
from udfs.stores.history_store import HistoryStore

NOW = datetime(2026, 3, 20, 15, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MANIFEST = "manifests/00000000000000000007-a.json"
ABOUT = ("Aurora", "c-1", "Night sky", datetime(2025, 6, 1, 8, 0, 0, 500_000))


class Full(Tables):
    """Tables with a row for every statement."""

    def _of_marked(self, _video: str, _kind: str, first: date, _last: date) -> Iterator[Any]:
        yield SimpleNamespace(day=datetime.combine(first, datetime.min.time()), marked=3)

    def _of_imported(self, videos: list[str], kinds: list[str]) -> Iterator[Any]:
        for video in videos:
            yield SimpleNamespace(video_id=video, kind=kinds[0], views=40)

    def _of_imported_days(self, _video: str, _kind: str, first: date, _last: date) -> Iterator[Any]:
        yield SimpleNamespace(day=datetime.combine(first, datetime.min.time()), views=30)

    def _of_changes(self, *_values: object) -> Iterator[Any]:
        yield NOW.replace(tzinfo=None), 12, 4, "day complete", "viewer_minute_max=60"

    def _of_top(self, kind: str, _span: str, hour: datetime, first: datetime, last: datetime) -> Iterator[Any]:
        minute = min(last, NOW.replace(tzinfo=None))
        if minute.replace(minute=0) == hour and first <= minute:
            if kind == "view":
                yield minute, 0, [("A", 7, 2), ("B", 5, 0)], {"A": ABOUT}
            elif not kind:
                yield minute, 1, [("like", 9, 0), ("", 50, 0)], None

    def _of_top_of_hour(self, *_values: object) -> Iterator[Any]:
        yield SimpleNamespace(start=datetime(2026, 3, 20, 12), videos=[("A", 7), ("B", 5)])

    def _of_top_of_day(self, *_values: object) -> Iterator[Any]:
        day = datetime(2026, 3, 20)
        yield SimpleNamespace(start=day, videos=[("A", 7)], complete_through=day + 14 * HOUR)

    def _of_verdicts_of_days(self, _days: list[date]) -> Iterator[Any]:
        yield verdict(datetime(2026, 3, 20, 12), datetime(2026, 3, 20, 14), wrong=1, repaired=1)

    def _of_findings_of_days(self, _days: list[date]) -> Iterator[Any]:
        yield finding("ledger", datetime(2026, 3, 20, 14), wrong=1, places=[(datetime(2026, 3, 20, 12), 3)])

    async def by_day(self, data_set: str, *_values: object) -> Daily:
        sketch = hll_sketch(LG_K)
        sketch.update("a")
        columns = {
            "countries": {"country": ["DE", ""], "views": [4, 1]},
            "devices": {"device": ["tv"], "views": [5]},
            "viewers": {"viewers": [1], "sketch": [sketch.serialize_compact()]},
            "channel_totals": {"views": [9], "late_added": [1]},
            "channel_top_days": {"rank": [1, 2], "video_id": ["A", "B"], "views": [7, 5]},
        }
        table = pa.table(columns[data_set])
        if data_set.startswith("channel_"):
            return Daily({at: [table] for at in (0, day_number(NOW.date()))}, [])
        return Daily({day_number(NOW.date()) - 1: [table]}, [day_number(NOW.date()) - 2])

    def _of_ledger(self, _minutes: list[datetime]) -> Iterator[Any]:
        minute = NOW.replace(tzinfo=None) - 2 * timedelta(minutes=1)
        yield SimpleNamespace(minute=minute, **dict.fromkeys(LEDGER_COLUMNS, 1) | {"received": 6})


def verdict(hour: datetime, audited_at: datetime, *, wrong: int = 0, repaired: int = 0) -> SimpleNamespace:
    """A row of audit_verdicts, of 10 cells."""
    return SimpleNamespace(
        hour=hour,
        audited_at=audited_at,
        compared=10,
        equal=9 - wrong,
        late=1,
        late_added=2,
        wrong=wrong,
        biggest_difference=5 * wrong,
        repaired=repaired,
    )


def finding(
    what: str, audited_at: datetime, *, wrong: int = 0, places: list[tuple[datetime, int]] | None = None
) -> SimpleNamespace:
    """A row of audit_findings, of 8 rows. What is wrong was repaired."""
    return SimpleNamespace(what=what, audited_at=audited_at, compared=8, wrong=wrong, repaired=wrong, places=places)


def full(history: History) -> Tables:
    hour = int(NOW.timestamp()) // 3600
    # History begins with a gap, so that a total lacks whatever was viewed before.
    applied = Applied(
        MANIFEST, 7, hour - 2000, hour - 1, hour, [(hour - 3, hour - 2)], {0: 5}, imports=1, has_kinds=True
    )
    counts = {("A", "view", int((NOW - ago * HOUR).timestamp()) // 60): ago for ago in range(1, 50)}
    row: Register = register_of(Settings().history.path, applied, NOW - 90 * DAY)
    return Full(history, counts, NOW, row, channels={"A": "c-1"})


def empty_history(folder: Path) -> History:
    """With a manifest that names no file: nothing was viewed that long ago."""
    root = str(folder / "history")
    put_manifest(HistoryStore(pyarrow.fs.LocalFileSystem(), root), no_history(2), name=MANIFEST)
    return History(HistoryFiles(pyarrow.fs.LocalFileSystem(), root), files_max=3000)


def has_imported(made: Tables, views: dict[tuple[str, str, date | None], int]) -> None:
    """Let these tables have exactly these imported views, and not a row for every statement."""
    made.imported_views = views
    made._of_imported = Tables._of_imported.__get__(made)  # type: ignore[method-assign]
    made._of_imported_days = Tables._of_imported_days.__get__(made)  # type: ignore[method-assign]


def said(client: TestClient, path: str) -> Any:
    """The answer at this path, which must be 200."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()
