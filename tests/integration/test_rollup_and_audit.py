"""The rollup counts the archive as plain Python does, whatever is killed, and the audit holds the stream to it."""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.compacted_topic import write
from schemas import registry
from tests.support.installation import PROMPT, Installation
from tests.support.metadata import Publisher
from tests.support.records import MINUTE_MS, Feeder, View, count
from tests.support.waiting import eventually
from tools import suspects
from tools.stack import FlinkCommandError, Stack
from udfs.logic.history.manifest import Manifest
from udfs.logic.slices.audience import viewer_hash
from udfs.stores.archive import Archive, filesystem
from udfs.stores.history_register import CassandraRegisters
from udfs.stores.history_store import HistoryStore

HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
# Of some of the videos; all are of one channel.
TITLES = {f"video-{n}": f"Title {n}" for n in range(4)}
CHANNEL = "c-1"
# 2026-01-31 22:30 UTC: hours, a day and a month end in what is sent.
START_MS = 1_769_898_600_000
ARCHIVE = "jobs/archive_events.py"
ROLLUP = "jobs/rollup.py"
# The views are of long ago, and their minutes were written just now.
AUDIT = "jobs/audit.py --hours 1000000"
Sums = dict[tuple[str, str, int], int]


@pytest.fixture
def installation(shared_stack: Stack) -> Iterator[Installation]:
    with Installation(shared_stack, "rolled-up", PROMPT, trusted_times=True) as made:
        yield made


class History:
    """What the rollup wrote, as analysts and operators see it."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        settings = installation.settings
        self._store = HistoryStore(filesystem(settings.s3), settings.history.path)
        self._shards = settings.counting.shards

    def _in_force(self) -> Manifest:
        register = CassandraRegisters(self._installation.session).read()
        assert register is not None
        return self._store.manifest(register.manifest, self._shards)

    def parquet(self, data_set: str) -> list[dict[str, Any]]:
        """Every row of a data set, with the hour or day of its file as `at`."""
        manifest = self._in_force()
        return [
            {**row, "at": at}
            for at, shards in manifest.files[data_set].items()
            for path in shards.values()
            for row in self._store.get(path).to_pylist()
        ]

    def through_ms(self) -> int:
        return self._in_force().through_hour * HOUR_MS

    def hours_in_parquet(self) -> Sums:
        found = {}
        for row in self.parquet("hours"):
            assert row["hour"] == datetime.fromtimestamp(row["at"] * 3600, UTC)
            found[row["video_id"], row["kind"], row["at"]] = row["views"]
        return found

    def rows(self, table: str, time_column: str | None, unit_s: int) -> Sums:
        """A table of Cassandra, by (video, kind, hour or day)."""
        found = {}
        for row in self._installation.session.execute(f"SELECT * FROM {table}"):
            at = 0
            if time_column is not None:
                value = getattr(row, time_column)
                moment = value if isinstance(value, datetime) else datetime.combine(value.date(), datetime.min.time())
                at = round(moment.replace(tzinfo=UTC).timestamp()) // unit_s
            found[row.video_id, row.kind, at] = row.views
        return found

    def check_marks(self, views: Iterable[View], minute_max: int, day_max: int, reason: str) -> None:
        """What is beyond these rules is marked, and the history of its day says so last."""
        beyond: Counter[tuple[str, str, int]] = Counter()
        left: Counter[tuple[str, str, int, str]] = Counter()
        through_ms = self.through_ms()
        judged = [v for v in views if v.viewer_id and (v.viewed_at // DAY_MS + 1) * DAY_MS <= through_ms]
        by_viewer = Counter((*view.cell, str(view.viewer_id)) for view in judged)
        for (video, kind, minute, viewer), number in by_viewer.items():
            day = (video, kind, minute // 1440)
            beyond[day] += max(0, number - minute_max)
            left[*day, viewer] += min(number, minute_max)
        for (video, kind, number_of_day, _), number in left.items():
            beyond[video, kind, number_of_day] += max(0, number - day_max)
        marked = +beyond
        assert marked
        assert {(r["video_id"], r["kind"], r["at"]): r["marked"] for r in self.parquet("marks")} == marked
        execute = self._installation.session.execute
        rows = {(r.video_id, r.kind, r.day.days_from_epoch): r for r in execute("SELECT * FROM views_by_day")}
        assert {name: row.marked for name, row in rows.items() if row.marked} == marked
        newest = {(r.video_id, r.kind, r.day.days_from_epoch): r for r in execute("SELECT * FROM day_history")}
        assert {name: (row.views, row.marked, row.reason) for name, row in newest.items()} == {
            name: (rows[name].views, number, reason) for name, number in marked.items()
        }
        settings = self._installation.settings
        manifest = self._in_force()
        archive = Archive(filesystem(settings.s3), settings.archive.path)
        found = suspects.suspects(self._store, manifest)
        ids = suspects.names(self._store, archive, manifest, found, settings.counting.salts)
        assert ids == {viewer_hash(viewer): viewer for viewer in ids.values()}
        assert ids.keys() == {one.viewer for one in found}
        assert sum(one.marked for one in found) == marked.total()

    def check(self, views: Iterable[View]) -> None:
        """Each of these views, viewed before `through`, counts once, everywhere."""
        through_ms = self.through_ms()
        counted = [view for view in views if view.viewed_at < through_ms]
        by_hour = dict(Counter((view.video_id, view.kind, view.viewed_at // HOUR_MS) for view in counted))
        by_day = dict(Counter((view.video_id, view.kind, view.viewed_at // (24 * HOUR_MS)) for view in counted))
        total = dict(Counter((view.video_id, view.kind, 0) for view in counted))
        minutes = dict(Counter(view.cell for view in counted))
        assert self.hours_in_parquet() == by_hour
        assert {(r["video_id"], r["kind"], r["at"]): r["views"] for r in self.parquet("days")} == by_day
        assert {(r["video_id"], r["kind"], 0): r["views"] for r in self.parquet("totals")} == total
        in_parquet = {
            (r["video_id"], r["kind"], round(r["minute"].timestamp()) // 60): r["views"]
            for r in self.parquet("minutes")
        }
        assert in_parquet == minutes
        assert self.rows("views_by_hour", "hour", 3600) == by_hour
        assert self.rows("views_by_day", "day", 86_400) == by_day
        assert self.rows("view_totals", None, 1) == total
        self._check_audience(counted)

    def _check_audience(self, counted: Sequence[View]) -> None:
        by_country = Counter((v.video_id, v.kind, v.viewed_at // HOUR_MS, v.country or "") for v in counted)
        found = {(r["video_id"], r["kind"], r["at"], r["country"]): r["views"] for r in self.parquet("countries")}
        assert found == by_country
        by_device = Counter((*day_of(v), (v.device or "").lower()) for v in counted)
        found = {(r["video_id"], r["kind"], r["at"], r["device"]): r["views"] for r in self.parquet("devices")}
        assert found == by_device
        through_ms = self.through_ms()
        complete = [v for v in counted if (v.viewed_at // DAY_MS + 1) * DAY_MS <= through_ms and v.viewer_id]
        viewers = Counter((video, kind, day) for video, kind, day, _ in {(*day_of(v), v.viewer_id) for v in complete})
        assert {(r["video_id"], r["kind"], r["at"]): r["viewers"] for r in self.parquet("viewers")} == viewers
        days = self._installation.session.execute("SELECT video_id, kind, day, viewers FROM views_by_day")
        in_table = {(r.video_id, r.kind, r.day.days_from_epoch): r.viewers for r in days if r.viewers is not None}
        assert in_table == viewers
        channel = Counter((CHANNEL, v.kind, v.viewed_at // HOUR_MS) for v in counted if v.video_id in TITLES)
        assert {(r["channel_id"], r["kind"], r["at"]): r["views"] for r in self.parquet("channels")} == channel
        rows = self._installation.session.execute("SELECT channel_id, kind, hour, views FROM channel_views_by_hour")
        assert {(r.channel_id, r.kind, hour_of(r.hour)): r.views for r in rows} == channel
        for data_set, table, column, span_ms in (
            ("top_hours", "top_videos_by_hour", "hour", HOUR_MS),
            ("top_days", "top_videos_by_day", "day", DAY_MS),
        ):
            tops: dict[tuple[str, str, int], Counter[str]] = {}
            for view in counted:
                for country in {"*", view.country or "*"}:
                    of_list = tops.setdefault((view.kind, country, view.viewed_at // span_ms), Counter())
                    of_list[view.video_id] += 1
            expected = {name: sorted(of.items(), key=lambda one: (-one[1], one[0])) for name, of in tops.items()}
            lists: dict[tuple[object, ...], list[tuple[object, object]]] = {}
            for r in self.parquet(data_set):
                lists.setdefault((r["kind"], r["country"], r["at"]), []).append((r["video_id"], r["views"]))
            assert lists == expected
            rows = self._installation.session.execute(f"SELECT kind, country, {column} AS at, videos FROM {table}")
            at = hour_of if column == "hour" else lambda day: day.days_from_epoch
            assert {(r.kind, r.country, at(r.at)): [tuple(one) for one in r.videos] for r in rows} == expected


def day_of(view: View) -> tuple[str, str, int]:
    return view.video_id, view.kind, view.viewed_at // DAY_MS


def hour_of(at: datetime) -> int:
    return round(at.replace(tzinfo=UTC).timestamp()) // 3600


def minute_of_views(minute: int, number: int = 30) -> list[View]:
    at_ms = START_MS + minute * MINUTE_MS
    return [
        View(
            f"video-{n % 7}",
            at_ms + n,
            "like" if n % 5 == 0 else "view",
            viewer_id=(None, f"viewer-{minute % 4}", f"viewer-{n}")[n % 3],
            country=(None, "DE", "FR", "DE")[n % 4],
            device=(None, "TV", "phone")[n % 3],
        )
        for n in range(number)
    ]


def set_rules(installation: Installation, minute_max: int, day_max: int) -> None:
    rules = {"viewer_minute_max": minute_max, "viewer_day_max": day_max}
    history = installation.settings.history.model_copy(update=rules)
    installation.settings = installation.settings.model_copy(update={"history": history})


def plant(installation: Installation, video: str, minute: int, views: int) -> None:
    """What no stream would write: any number, at the clock's own time."""
    at = datetime.fromtimestamp((START_MS + minute * MINUTE_MS) / 1000, UTC)
    installation.session.execute(
        "INSERT INTO views_by_minute (video_id, kind, day, minute, views) VALUES (%s, 'view', %s, %s, %s)",
        (video, at.date(), at, views),
    )


@pytest.mark.parametrize("turns", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_history_is_what_was_sent_and_the_audit_finds_what_the_stream_has_wrong(
    installation: Installation, turns: int
) -> None:
    """With two turns a second rollup goes on from the first while it is killed, and an audit does not repair first."""
    stack, feeder, history = installation.stack, Feeder(installation.settings), History(installation)
    archive = Archive(filesystem(installation.settings.s3), installation.settings.archive.path)
    in_time: list[View] = []

    def send(views: list[View], minute: int) -> None:
        feeder.send(views, START_MS + minute * MINUTE_MS)

    def archived() -> bool:
        files, partitions = archive.files(), range(installation.settings.kafka.partitions)
        found = [len(list(archive.read_partition(f for f in files if f.partition == p))) for p in partitions]
        return sum(found) == feeder.records

    Publisher(installation).titles(TITLES)
    archiving = installation.start(script=ARCHIVE)
    for minute in range(0, 150, 3):
        views = minute_of_views(minute)
        # Repeats: in the same record's minute, and after the view's minute has closed.
        send([*views, *views[:3], *in_time[-20:-10], *in_time[:5]], minute)
        in_time += views
    # Views that come an hour late, one of them twice; and one that was counted in time already.
    late = [View(f"video-{n % 3}", START_MS + n * MINUTE_MS) for n in range(9)]
    send([*late, late[0], in_time[0]], 150)
    send([], 241)
    assert eventually(archived)
    set_rules(installation, 1, 1000)
    assert "run 1: " in installation.run(script=ROLLUP)
    # Hour 2 of February was not over when the last record came.
    assert history.through_ms() == START_MS + 150 * MINUTE_MS
    history.check([*in_time, *late])
    history.check_marks(in_time, 1, 1000, "day complete")
    assert sum(r["late_added"] for r in history.parquet("totals")) == len(late)

    every, later = [*in_time, *late], list[View]()
    if turns == 2:
        fourth = minute_of_views(250)
        send(fourth, 250)
        in_time += fourth
        every += fourth
        # Late for an hour that has been rolled up, and the same again, and what was added before.
        later = [View("video-1", START_MS + n * MINUTE_MS, "like") for n in range(4)]
        send([*later, *later, *late], 255)
        blocked = View("video-2", START_MS + 256 * MINUTE_MS, viewer_id="robot")
        period = {"effective_from": START_MS + 256 * MINUTE_MS, "effective_until": None}
        kafka = installation.settings.kafka
        robot = registry.encode("BlockedViewer", {"viewer_id": "robot", "periods": [period]})
        write(kafka, kafka.blocked_topic, [(b"robot", robot)])
        send([blocked], 256)
        in_time.append(View("video-2", blocked.viewed_at, "blocked:view"))
        every.append(in_time[-1])
        send([], 361)
    installation.start()
    if turns == 2:
        assert eventually(archived)

        def kill() -> None:
            time.sleep(3)
            if stack.python_workers():
                stack.kill_python_worker()
            time.sleep(6)
            stack.kill("taskmanager")

        killer = threading.Thread(target=kill)
        killer.start()
        set_rules(installation, 1, 3)
        printed = installation.run(script=ROLLUP, parallelism=2)
        killer.join()
        assert "run 2: " in printed
        every += later
        history.check(every)
        history.check_marks(every, 1, 3, "rules changed")
        assert archiving in stack.unfinished_jobs()

    # A partial lost, one counted twice, a cell lost altogether, and a video that nobody viewed.
    counted = count(in_time)

    def caught_up() -> bool:
        # As ingest does all the time: it is what wakes a job whose timers a checkpoint lacked (docs/decisions/0020).
        send([], 361)
        return (
            installation.views() == counted and (installation.closed_through() or 0) * MINUTE_MS > history.through_ms()
        )

    assert eventually(caught_up), set(installation.views().items()) ^ set(counted.items())
    first_minute = START_MS // MINUTE_MS
    plant(installation, "video-1", 3, counted["video-1", "view", first_minute + 3] - 1)
    plant(installation, "video-2", 60, 2 * counted["video-2", "view", first_minute + 60])
    plant(installation, "video-3", 66, 0)
    plant(installation, "nobody", 100, 17)
    planted = installation.views()
    found = f"4 wrong, {len({view.cell for view in [*late, *later]})} late (+{len(late) + len(later)} views)"
    if turns == 2:
        with pytest.raises(FlinkCommandError, match=re.escape(f"{found}; 0 repaired")):
            installation.run(script=AUDIT)
        assert installation.views() == planted, "it was not told to repair"
    assert found in installation.run(script=f"{AUDIT} --repair")
    right = {**count(every), ("nobody", "view", first_minute + 100): 0}
    assert installation.views() == right
    # What was there before is kept. That twice is as once, tests/unit/test_audit.py says.
    rows = installation.session.execute("SELECT * FROM audit_minute_corrections")
    kept = {(row.video_id, row.reason, row.before, row.after) for row in rows if row.repaired}
    assert {("nobody", "wrong", 17, 0), ("video-3", "wrong", 0, counted["video-3", "view", first_minute + 66])} < kept
