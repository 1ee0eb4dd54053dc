"""Answers against a count of every view: all granularities, zones and tiers, with rollups and imports in between.

The tables are doubles that forget as Cassandra does (tests.support.tables); the service above them is the real one.
What is expected knows no tiers and no bounds of points: it goes through all views and looks at the zone's clock for
each.
"""

import asyncio
import copy
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import httpx2
import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from services.query import app
from services.query.counts import totals
from services.query.counts.cold import History
from services.query.counts.totals import Totals
from settings import Settings
from tests.support.registers import applied_of, register_of
from tests.support.tables import Tables
from tests.support.tiers import examples
from udfs.logic.history.manifest import Manifest, no_history
from udfs.logic.kernels.shards import shard_of
from udfs.stores.history_reader import HistoryFiles

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# Within the 150 days before it clocks change in Berlin and New York, and by half an hour on Lord Howe.
START = datetime(2026, 4, 20, 22, 40, tzinfo=UTC)
MINUTES_KEPT, HOURS_KEPT = 7 * DAY, 99 * DAY
OLDEST = 150 * DAY
SHARDS = 2
VIDEOS = ("A", "B")
KINDS = ("view", "like", "blocked:view")
SETTINGS = Settings()
ZONES = (None, "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Asia/Kolkata", "Australia/Lord_Howe")
WEEKDAYS = ("monday", "sunday", "saturday")
# How many points are asked for at most.
LENGTHS = {"minute": 600 * MINUTE, "hour": 200 * HOUR, "day": 140 * DAY, "week": 300 * DAY, "month": 500 * DAY}
# The tables whose rows a rollup rewrites.
ROLLED = ("bases", "hours", "days")
# How old a held total may be.
FRESH_S = 1.0
# How many days ago tiers change, clocks changed, and now.
TURNS = (0, 0, 0, 1, 7, 8, 16, 22, 43, 99, 100)
A_VIDEO, A_KIND, SOME = st.sampled_from(VIDEOS), st.sampled_from(KINDS), st.integers(1, 9)
QUESTION = st.fixed_dictionaries(
    {
        "video": A_VIDEO,
        "kind": A_KIND,
        "granularity": st.sampled_from(sorted(LENGTHS)),
        "zone": st.sampled_from(ZONES),
        "week_start": st.sampled_from(WEEKDAYS),
        "age": st.sampled_from(TURNS) | st.integers(0, 150),
        "minutes": st.integers(-2000, 200),
        "part": st.floats(0.02, 1),
    }
)
# A video, a kind and a minute.
Cell = tuple[str, str, datetime]


class Files(HistoryFiles):
    """Parquet of manifests, in memory. Older hours share files, as after compaction."""

    def __init__(self) -> None:
        self._manifests: dict[str, Manifest] = {}
        self._rows: dict[str, dict[str, list[tuple[str, str, int, int]]]] = {}

    def write(self, cells: Counter[Cell], through: datetime, run: int) -> tuple[str, Manifest]:
        manifest = msgspec.structs.replace(no_history(SHARDS), run=run, through_hour=hour_of(through))
        for (video, kind, at), views in cells.items():
            shard, hour = shard_of(video, SHARDS), hour_of(at)
            if at >= through:
                continue
            for data_set, start in (("minutes", at), ("hours", at.replace(minute=0))):
                of = hour if hour % 5 else hour // 24
                path = f"{data_set}/{of}/{shard}/{run}"
                manifest.files[data_set].setdefault(hour, {})[shard] = path
                row = video, kind, int(start.timestamp() * 1000), views
                self._rows.setdefault(path, {}).setdefault(data_set, []).append(row)
        name = f"manifests/{run:020d}-a.json"
        self._manifests[name] = manifest
        return name, manifest

    def manifest(self, name: str) -> Manifest:
        return self._manifests[name]

    def rows(self, path: str, data_set: str, video_id: str, kind: str) -> list[tuple[int, int]]:
        sums: Counter[int] = Counter()
        for video, what, at_ms, views in self._rows[path][data_set]:
            if (video, what) == (video_id, kind):
                sums[at_ms] += views
        return list(sums.items())


class RollingTables(Tables):
    """Tables while a rollup writes: some have its rows already, and the register does not say so yet."""

    def __init__(self, history: History) -> None:
        super().__init__(history, {}, START, None)
        # Totals are held, as in a service.
        self._totals = Totals(self._session, kept_days=8, fresh_s=FRESH_S, bytes_max=1 << 20)
        self.ahead: frozenset[str] = frozenset()
        self.later: Tables = self

    def rows(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        is_ahead = statement.removesuffix("_of_many") in self.ahead
        return Tables.rows(self.later if is_ahead else self, statement, values)

    def _of_progress(self, _pipeline: str) -> Iterator[Any]:
        # Whatever comes in time is of later minutes.
        yield 0, 1, (self._now - 3 * MINUTE).replace(tzinfo=None)


class Answers(RuleBasedStateMachine):
    """Views come, in time and late; rollups begin and end, with repairs and imports; anything is asked meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.files = Files()
        self.tables = RollingTables(History(self.files, files_max=5000))
        self.now = START
        self.stream: Counter[Cell] = Counter()
        # What came too late for the stream, and what history has of all views.
        self.late: Counter[Cell] = Counter()
        self.rolled: Counter[Cell] = Counter()
        self.through = START.replace(minute=0) - 2 * HOUR
        self.next: tuple[Counter[Cell], datetime] | None = None
        self.imported: Counter[tuple[str, str, date | None]] = Counter()
        self.runs = 0
        # The clock by which totals are held, and the views that came so late by it that held totals may lack them.
        self.clock_s = 0.0
        self.recent: list[tuple[float, Cell, int]] = []
        self.clock = patch.object(totals, "monotonic", lambda: self.clock_s)
        self.clock.start()
        self.loop = asyncio.new_event_loop()
        with patch.object(app, "CountStore", lambda *_, **__: self.tables):
            service = app.build_service(SETTINGS, lambda: self.now)
        transport = httpx2.ASGITransport(service.public)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://localhost")

    def teardown(self) -> None:
        self.loop.run_until_complete(self.client.aclose())
        self.tables._history.stop()
        self.loop.close()
        self.clock.stop()

    # --- what happens

    @initialize(seed=st.integers(0, 1 << 32), behind=st.integers(1, 30))
    def begin(self, seed: int, behind: int) -> None:
        """Views of the past, many of them near the ages at which tiers change, and where clocks changed."""
        chance = random.Random(seed)
        for _ in range(900):
            near = chance.choice(TURNS) * DAY + chance.randint(-180, 180) * MINUTE
            new = chance.randint(0, 3 * 1440) * MINUTE
            ago = chance.choice([near, new, chance.randint(0, OLDEST // MINUTE) * MINUTE])
            self._view(self.stream, chance, max(ago, 0 * MINUTE))
        self.through = START.replace(minute=0) - behind * HOUR
        self._roll(self.stream.copy(), self.through)

    def _view(self, cells: Counter[Cell], chance: random.Random, ago: timedelta) -> None:
        cells[chance.choice(VIDEOS), chance.choice(KINDS), self.now - ago] += chance.randint(1, 9)

    @rule(video=A_VIDEO, kind=A_KIND, ago=st.integers(0, 2), n=SOME, pause_s=st.sampled_from((0.1, FRESH_S)))
    def be_viewed(self, video: str, kind: str, ago: int, n: int, pause_s: float) -> None:
        """In time."""
        self.recent = [one for one in self.recent if self.clock_s - one[0] < FRESH_S]
        self.recent.append((self.clock_s, (video, kind, self.now - ago * MINUTE), n))
        self.stream[video, kind, self.now - ago * MINUTE] += n
        self.clock_s += pause_s
        self._show()

    @rule(seed=st.integers(0, 1 << 32))
    def come_late(self, seed: int) -> None:
        """The next rollup counts them."""
        chance = random.Random(seed)
        for _ in range(20):
            self._view(self.late, chance, chance.randint(60, chance.choice((600, 9 * 1440))) * MINUTE)

    @rule(minutes=st.one_of(st.integers(1, 90), st.integers(90, 3 * 1440)))
    def wait(self, minutes: int) -> None:
        self.now += minutes * MINUTE
        self.clock_s += minutes * 60
        self._show()

    @precondition(lambda self: self.next is None)
    @rule(
        video=A_VIDEO,
        kind=st.sampled_from(KINDS[:2]),
        ago=st.none() | st.integers(0, 200),
        n=st.integers(1, 1000),
    )
    def import_views(self, video: str, kind: str, ago: int | None, n: int) -> None:
        day = None if ago is None else (self.now - ago * DAY).date()
        self.imported[video, kind, day] += n
        # With a revision of its own.
        self._roll(self.rolled, self.through)

    @precondition(lambda self: self.next is None)
    @rule(
        behind=st.none() | st.integers(1, 3),
        ahead=st.frozensets(st.sampled_from(ROLLED)),
        questions=st.lists(QUESTION, max_size=4),
    )
    def begin_a_rollup(self, behind: int | None, ahead: frozenset[str], questions: list[dict[str, Any]]) -> None:
        """Some of its rows are in the tables already. With None it is a repair, which finds nothing wrong."""
        if behind is None:
            self.next = self.rolled, self.through
        else:
            through = max(self.through, self.now.replace(minute=0) - behind * HOUR)
            self.next = self.stream + self.late, through
        later = copy.copy(self.tables)
        self.tables.later, self.tables.ahead = later, ahead
        self._write(later, *self.next)
        self._show()
        self._ask_for_each_series(questions)
        self._ask_for_all_totals(list(KINDS), list(VIDEOS))

    @precondition(lambda self: self.next is not None)
    @rule()
    def end_the_rollup(self) -> None:
        assert self.next is not None
        self._roll(*self.next)

    def _roll(self, cells: Counter[Cell], through: datetime) -> None:
        self.rolled, self.through, self.next = cells, through, None
        self.tables.later, self.tables.ahead = self.tables, frozenset()
        self._write(self.tables, cells, through)
        self._show()

    def _write(self, tables: Tables, cells: Counter[Cell], through: datetime) -> None:
        self.runs += 1
        name, manifest = self.files.write(cells, through, self.runs)
        applied = msgspec.structs.replace(applied_of(name, manifest, revision=self.runs), imports=1)
        tables._register = register_of(SETTINGS.history.path, applied, START - 300 * DAY)
        tables._rolled = {(video, kind, minute_of(at)): views for (video, kind, at), views in cells.items()}

    def _show(self) -> None:
        """What the tables have of the stream, at this time."""
        stream = {(video, kind, minute_of(at)): views for (video, kind, at), views in self.stream.items()}
        for tables in (self.tables, self.tables.later):
            tables._stream, tables._now = stream, self.now
            tables.imported_views = dict(self.imported)

    # --- what is asked

    @rule(questions=st.lists(QUESTION, min_size=1, max_size=4))
    def ask_for_series(self, questions: list[dict[str, Any]]) -> None:
        self._ask_for_each_series(questions)

    def _ask_for_each_series(self, questions: list[dict[str, Any]]) -> None:
        for question in questions:
            self._ask_for_a_series(**question)

    def _ask_for_a_series(
        self,
        video: str,
        kind: str,
        granularity: str,
        zone: str | None,
        week_start: str,
        age: int,
        minutes: int,
        part: float,
    ) -> None:
        start = min(self.now, self.now - age * DAY + minutes * MINUTE).replace(second=0)
        end = start + round(LENGTHS[granularity] / MINUTE * part) * MINUTE
        query = {"kind": kind, "granularity": granularity, "from": start.isoformat(), "to": end.isoformat()}
        if zone is not None:
            query["zone"] = zone
        if granularity == "week":
            query["week_start"] = week_start
        answer = self._ask("GET", f"/v1/videos/{video}/series", params=query)
        if self._may_refuse(answer, granularity):
            return
        points = answer.json()["points"]
        label = labels(granularity, ZoneInfo(zone or "UTC"), week_start)
        starts = [datetime.fromisoformat(point["start"]) for point in points]
        ends = [datetime.fromisoformat(point["end"]) for point in points if "end" in point]
        assert [label(at) for at in starts] == sorted({label(at) for at in starts}), "each once and in order"
        if start < end:
            assert starts[0] <= start
            assert label(starts[-1]) == label(end - MINUTE)
            assert label(starts[0]) == label(start)
        assert ends[:-1] == starts[1:] or not ends
        low, high = self._by_label(video, kind, granularity, label)
        has_imports = granularity in ("day", "week", "month") and zone in (None, "UTC")
        for at, point in zip(starts, points, strict=True):
            added = point.get("imported", 0)
            if point["views"] is None:
                assert "degraded" in answer.json()
                assert not point["complete"]
                continue
            assert low[label(at)] <= point["views"] - added <= high[label(at)], (point, low[label(at)], high[label(at)])
            assert added == (self._imported_at(video, kind, label, label(at)) if has_imports else 0)
        assert answer.json()["imported"] == (sum(p.get("imported", 0) for p in points) if has_imports else None)

    @rule(video=A_VIDEO, kind=st.sampled_from(KINDS[:2]))
    def ask_for_a_total(self, video: str, kind: str) -> None:
        answer = self._ask("GET", f"/v1/videos/{video}/views", params={"kind": kind})
        if not self._may_refuse(answer, "total"):
            self._check_total(video, {"kind": kind, **answer.json()})

    @rule(kinds=st.permutations(KINDS), videos=st.permutations((*VIDEOS, "nobody")))
    def ask_for_all_totals(self, kinds: list[str], videos: list[str]) -> None:
        self._ask_for_all_totals(kinds, videos)

    def _ask_for_all_totals(self, kinds: list[str], videos: list[str]) -> None:
        body = {"video_ids": videos, "kind": kinds, "sum": True}
        answer = self._ask("POST", "/v1/videos:batchGet", json=body)
        if self._may_refuse(answer, "total"):
            return
        found = answer.json()
        assert [video["video_id"] for video in found["videos"]] == videos
        sums: dict[str, Counter[str]] = defaultdict(Counter)
        for video in found["videos"]:
            assert [total["kind"] for total in video["kinds"]] == kinds
            for total in video["kinds"]:
                self._check_total(video["video_id"], total)
                sums[total["kind"]].update({name: total[name] for name in total if name != "kind"})
        assert found["sum"] == [{"kind": kind, **sums[kind]} for kind in kinds]

    @rule(video=A_VIDEO)
    def ask_for_all_kinds(self, video: str) -> None:
        """Those that history has are among them, and nothing that is reserved is."""
        answer = self._ask("GET", f"/v1/videos/{video}/views", params={"kind": "*"})
        if self._may_refuse(answer, "total"):
            return
        found = {total["kind"]: total for total in answer.json()["kinds"]}
        for total in found.values():
            self._check_total(video, total)
        had = {kind for (of, kind, at), _ in self.rolled.items() if of == video and at < self.through}
        imported = {kind for of, kind, _ in self.imported if of == video}
        wanted = {kind for kind in had | imported if not kind.startswith("blocked:")}
        assert wanted <= {*found} <= {*KINDS[:2]}

    def _check_total(self, video: str, total: dict[str, Any]) -> None:
        kind, everything = total["kind"], labels("total", ZoneInfo("UTC"), "monday")
        imported = sum(n for (of, what, _), n in self.imported.items() if (of, what) == (video, kind))
        assert total["imported"] == imported
        for what, views in ((kind, total["views"] - imported), (f"blocked:{kind}", total["blocked"])):
            low, high = self._by_label(video, what, "total", everything)
            lacking = sum(
                n
                for at_s, (of, of_kind, _), n in self.recent
                if (of, of_kind) == (video, what) and self.clock_s - at_s < FRESH_S
            )
            assert low[0,] - lacking <= views <= high[0,], (what, total)

    def _ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        return self.loop.run_until_complete(self.client.request(method, path, **request))

    def _may_refuse(self, answer: httpx2.Response, form: str) -> bool:
        """Whether the answer is a refusal or an old one, as it may be if minutes have gone that no rollup counted."""
        if answer.status_code == 200 and "degraded" not in answer.json():
            return False
        assert answer.status_code in (200, 503), (form, answer.text)
        assert self.through < self._minutes_from, (form, answer.text)
        # With points that nobody knows, the others are as they should be.
        return answer.status_code == 503 or "as_of" in answer.json()

    @property
    def _minutes_from(self) -> datetime:
        """From when on minutes are the stream's."""
        return self.now.replace(minute=0) - MINUTES_KEPT

    # --- what is expected

    def _by_label(
        self, video: str, kind: str, granularity: str, label: Callable[[datetime], tuple[int, ...]]
    ) -> tuple[Counter[tuple[int, ...]], Counter[tuple[int, ...]]]:
        """The least and the most views by label. They differ while a rollup writes that counts late views."""
        found = []
        for rolled, rolled_through in [(self.rolled, self.through), *([] if self.next is None else [self.next])]:
            # Minutes that the tables keep are the stream's alone, and have no late views.
            through = min(rolled_through, self._minutes_from) if granularity == "minute" else rolled_through
            sums: Counter[tuple[int, ...]] = Counter()
            for cells, is_rolled in ((rolled, True), (self.stream, False)):
                for (of, what, at), views in cells.items():
                    if (of, what) == (video, kind) and (at < through) == is_rolled:
                        sums[label(at)] += views
            found.append(sums)
        # A series of minutes is of one manifest, and that is named by the register.
        return (found[0], found[-1] if granularity != "minute" else found[0])

    def _imported_at(
        self, video: str, kind: str, label: Callable[[datetime], tuple[int, ...]], wanted: tuple[int, ...]
    ) -> int:
        return sum(
            n
            for (of, what, day), n in self.imported.items()
            if (of, what) == (video, kind)
            and day is not None
            and label(datetime(day.year, day.month, day.day, 12, tzinfo=UTC)) == wanted
        )


def labels(granularity: str, zone: ZoneInfo, week_start: str) -> Callable[[datetime], tuple[int, ...]]:
    """What the clock and the calendar there say of a time: the same for all times of a point, and else another."""

    def label(at: datetime) -> tuple[int, ...]:
        there = at.astimezone(zone)
        if granularity == "total":
            return (0,)
        if granularity == "month":
            return there.year, there.month
        if granularity == "week":
            names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
            first = there.date()
            while first.weekday() != names.index(week_start):
                first -= DAY
            return (first.toordinal(),)
        if granularity == "day":
            return (there.date().toordinal(),)
        offset = there.utcoffset()
        assert offset is not None
        # Hours that are shown again come after those with the larger offset.
        of_hour = there.date().toordinal(), there.hour, -int(offset.total_seconds())
        return of_hour if granularity == "hour" else (minute_of(at),)

    return label


def hour_of(at: datetime) -> int:
    return int(at.timestamp()) // 3600


def minute_of(at: datetime) -> int:
    return int(at.timestamp()) // 60


def test_answers_are_what_was_viewed() -> None:
    wanted = examples(90, fast=10)
    run_state_machine_as_test(Answers, settings=settings(wanted, stateful_step_count=30))
