"""Answers over what a rollup of random events has made: countries, devices, viewers, channels; against brute force."""

import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import mmh3
import pyarrow.fs
import pytest
from starlette.testclient import TestClient

from schemas import registry
from services.query import app as query_app
from services.query.counts.cold import History
from settings import Settings
from tests.support import golden_history as golden
from tests.support.local_rollup import LocalRollup, metadata_records
from tests.support.tables import Tables
from udfs.stores.history_reader import HistoryFiles

START_MS = golden.START_HOUR * golden.HOUR_MS
DAY_MS = 24 * golden.HOUR_MS
START = datetime.fromtimestamp(START_MS / 1000, UTC)
# Late events are added for a day, and files that come late for two hours more: the first two days are final.
DAYS = 4
OPEN_HOUR = 24 * (DAYS - 1) + 12
OPEN_MS = START_MS + OPEN_HOUR * golden.HOUR_MS
VIDEOS = ("v0", "v1", "v2", "v3")
# The last one has no metadata.
CHANNELS = {"v0": "c0", "v1": "c0", "v2": "c1"}


class Viewed(NamedTuple):
    """A view, and when its record was appended."""

    video: str
    kind: str
    viewed_ms: int
    viewer: str | None
    country: str | None
    device: str | None
    arrived_ms: int

    @property
    def day(self) -> int:
        return (self.viewed_ms - START_MS) // DAY_MS


def views(rng: random.Random) -> Iterator[Viewed]:
    """Some in each hour of arrival, of them some that are late by hours."""
    for hour in range(0, OPEN_HOUR + 1, 4):
        for _ in range(18):
            # At few times, since each takes a record of every salt.
            arrived_ms = START_MS + hour * golden.HOUR_MS + rng.randrange(3) * 19 * golden.MINUTE_MS
            late_ms = rng.choice([0, 0, 0, 2, 5]) * golden.HOUR_MS if hour > 5 else 0
            yield Viewed(
                rng.choice(VIDEOS), rng.choice(["view", "view", "like"]), arrived_ms - late_ms - rng.randrange(60_000),
                rng.choice([None, *"abcdefgh"]), rng.choice([None, "DE", "fr", "nowhere"]),
                rng.choice([None, "TV", "phone", "!"]), arrived_ms,
            )  # fmt: skip


def records(viewed: Iterable[Viewed]) -> Iterator[tuple[int, int, bytes]]:
    """(record_ms, salt, value); each salt has a record at each time."""
    events: dict[int, dict[int, list[object]]] = defaultdict(lambda: defaultdict(list))
    for n, one in enumerate(viewed):
        event_id = uuid.uuid5(uuid.NAMESPACE_OID, str(n)).bytes
        events[one.arrived_ms][mmh3.hash(event_id, 0, signed=False) % golden.RULES.salts].append(
            {
                "event_id": event_id, "video_id": one.video, "kind": one.kind, "viewed_at": one.viewed_ms,
                "viewer_id": one.viewer, "country": one.country, "device": one.device,
            }
        )  # fmt: skip
    batch = {"batch_id": bytes(16), "producer_id": "test", "salts": golden.RULES.salts}
    for arrived_ms, by_salt in sorted(events.items()):
        for salt in range(golden.RULES.salts):
            value = {**batch, "salt": salt, "produced_at": arrived_ms, "events": by_salt[salt]}
            yield arrived_ms, salt, registry.encode("ViewBatch", value)


class Place:
    """A rollup's history of these views, and a service that answers from it."""

    def __init__(self, root: Path, seed: int) -> None:
        self.views = [*views(random.Random(seed))]
        kept = {"video-metadata": metadata_records(CHANNELS)}
        self.rollup = LocalRollup(root, golden.RULES, kept, **{**golden.HISTORY, "slice_events_max": 500})
        every = [*records(self.views)]
        # In two parts, so that a day is counted in several rollups.
        half = START_MS + 30 * golden.HOUR_MS
        for part in ([one for one in every if one[0] < half], [one for one in every if one[0] >= half]):
            self.rollup.archive(part)
            self.rollup.run()
        self.through_hour = self.rollup.manifest().through_hour - golden.START_HOUR
        history = History(HistoryFiles(pyarrow.fs.LocalFileSystem(), self.rollup.settings.history.path), files_max=3000)
        # What the rollup has counted, as Cassandra has it.
        counts = Counter(
            (one.video, one.kind, one.viewed_ms // 60_000) for one in self.views if one.arrived_ms < OPEN_MS
        )
        self.clients = []
        # Soon, and when no table has hours of that time any more.
        for now in (START + timedelta(hours=OPEN_HOUR + 2), START + timedelta(days=200)):
            self.tables = Tables(history, {}, now, self.rollup.registers.read(), rolled=counts, channels=CHANNELS)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(query_app, "CountStore", lambda *_, tables=self.tables: tables)
                service = query_app.build_service(Settings(), clock(now))
            self.clients.append(TestClient(service.public, base_url="http://localhost"))
        self.client = self.clients[0]

    def said(self, path: str, at: int = 0) -> Any:
        answer = self.clients[at].get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def of_channel(self, channel: str, kind: str) -> list[Viewed]:
        return [
            one for video, of in CHANNELS.items() if of == channel for one in self.counted(video, kind, range(DAYS))
        ]

    def counted(self, video: str, kind: str, days: range) -> list[Viewed]:
        through_ms = START_MS + self.through_hour * golden.HOUR_MS
        return [
            one for one in self.views
            if (one.video, one.kind) == (video, kind) and one.day in days
            and one.viewed_ms < through_ms and one.arrived_ms < OPEN_MS
        ]  # fmt: skip


@pytest.fixture(scope="module", params=[1, 2])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("history"), request.param)
    # Days of hours that are files of their own, and final ones.
    files = made.rollup.manifest().files["countries"]
    assert {len({path for of in files.values() for path in of.values()}) > 2} == {True}
    assert 24 * (DAYS - 2) < made.through_hour < 24 * DAYS
    return made


def clock(now: datetime) -> Callable[[], datetime]:
    return lambda: now


def asked(days: range) -> str:
    first, end = (START + timedelta(days=day) for day in (days.start, days.stop))
    return f"from={first:%Y-%m-%d}T00:00:00Z&to={end:%Y-%m-%d}T00:00:00Z"


RANGES = [range(first, end) for first in range(DAYS) for end in range(first + 1, DAYS + 1)]
COUNTRIES = {None: "", "nowhere": "", "fr": "FR"}
DEVICES = {None: "", "!": "", "TV": "tv"}


@pytest.mark.parametrize("kind", ["view", "like"])
def test_a_breakdown_adds_up_to_what_was_viewed(place: Place, kind: str) -> None:
    for days in RANGES:
        counted = place.counted("v1", kind, days)
        for by, names in (("country", COUNTRIES), ("device", DEVICES)):
            found = place.said(f"/v1/videos/v1/breakdown?by={by}&kind={kind}&{asked(days)}")
            wanted = Counter(names.get(getattr(one, by), getattr(one, by)) for one in counted)
            assert {part["name"]: part["views"] for part in found["parts"]} == wanted
            assert found["views"] == len(counted)
            assert found["parts"] == sorted(found["parts"], key=lambda part: (-part["views"], part["name"]))
            assert found["not_counted"] == []
            through = min(24 * days.stop, place.through_hour)
            assert found["complete_through"] == f"{START + timedelta(hours=through):%Y-%m-%dT%H:%M:%SZ}"


def test_viewers_are_exact_by_day_and_within_their_bounds_over_days(place: Place) -> None:
    for days in RANGES:
        found = place.said(f"/v1/videos/v1/viewers?{asked(days)}")
        by_day: dict[int, set[str]] = defaultdict(set)
        for one in place.counted("v1", "view", days):
            if one.viewer:
                by_day[one.day].add(one.viewer)
        # The day that is not over has no number, though history has some of its hours. The one before may change.
        whole = place.through_hour // 24
        final = place.rollup.manifest().forgotten_before - golden.START_HOUR
        for day, row in zip(days, found["days"], strict=True):
            assert row["day"] == str(START.date() + timedelta(days=day))
            if day >= whole:
                assert row["viewers"] is None
            elif 24 * (day + 1) <= final:
                assert row["viewers"] == len(by_day[day])
        numbers = [row["viewers"] for row in found["days"] if row["viewers"] is not None]
        if not numbers:
            assert (found["viewers"], found["lower"], found["upper"]) == (None, None, None)
            continue
        assert max(numbers) <= found["lower"] <= found["viewers"] <= found["upper"] <= sum(numbers)
        if 24 * days.stop <= final:
            assert found["lower"] <= len(set().union(*by_day.values())) <= found["upper"]
        if len(numbers) == 1:
            assert found["lower"] == found["viewers"] == found["upper"] == numbers[0]


def test_days_of_no_such_data_set_are_named(place: Place) -> None:
    manifest = place.rollup.manifest()
    history = place.tables._history
    name = place.tables.known.manifest
    lacking = {**manifest.files, "devices": {}, "viewers": {}}
    history._known[name] = type(manifest)(**{**_fields(manifest), "files": lacking})
    try:
        found = place.said(f"/v1/videos/v1/breakdown?by=device&{asked(range(1, 2))}")
        assert (found["parts"], found["not_counted"]) == ([], [str(START.date() + timedelta(days=1))])
        assert (found["views"], found["complete_through"]) == (None, None)
        url = f"/v1/videos/v1/breakdown?by=device&{asked(range(1, 2))}"
        answer = place.client.get(url, headers={"Accept": "text/csv"})
        assert answer.headers["view-counts-not-counted"] == f'"{START.date() + timedelta(days=1)}"'
        assert not answer.headers["etag"].startswith("W/")
        viewers = place.said(f"/v1/videos/v1/viewers?{asked(range(DAYS))}")
        assert viewers["complete_through"] is None
        assert viewers["not_counted"] == [str(START.date() + timedelta(days=day)) for day in range(DAYS - 1)]
        assert {row["viewers"] for row in viewers["days"]} == {None}
    finally:
        del history._known[name]


def test_nothing_is_complete_beyond_the_first_day_that_is_not_counted(place: Place) -> None:
    manifest = place.rollup.manifest()
    history = place.tables._history
    name = place.tables.known.manifest
    second = golden.START_HOUR // 24 + 1
    devices = {day: of for day, of in manifest.files["devices"].items() if day != second}
    history._known[name] = type(manifest)(**{**_fields(manifest), "files": {**manifest.files, "devices": devices}})
    try:
        found = place.said(f"/v1/videos/v1/breakdown?by=device&{asked(range(3))}")
        counted = [*place.counted("v1", "view", range(1)), *place.counted("v1", "view", range(2, 3))]
        assert found["views"] == sum(part["views"] for part in found["parts"]) == len(counted)
        assert found["not_counted"] == [str(START.date() + timedelta(days=1))]
        assert found["complete_through"] == f"{START + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    finally:
        del history._known[name]


def _fields(manifest: Any) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in manifest.__struct_fields__}


def test_what_nobody_viewed_is_0_and_what_no_rollup_has_counted_is_null(place: Place) -> None:
    nobody = place.said(f"/v1/videos/nobody/breakdown?by=country&{asked(range(1))}")
    assert (nobody["views"], nobody["parts"]) == (0, [])
    assert place.said(f"/v1/videos/nobody/viewers?{asked(range(1))}")["viewers"] == 0
    later = date(2026, 1, 20)
    unknown = place.said(f"/v1/videos/v1/breakdown?by=country&from={later}T00:00:00Z&to={later}T12:00:00Z")
    assert (unknown["views"], unknown["complete_through"]) == (None, None)


@pytest.mark.parametrize("query", ["", "?by=city"])
def test_a_breakdown_says_by_what_it_may_be(place: Place, query: str) -> None:
    answer = place.client.get(f"/v1/videos/v1/breakdown{query}")
    assert answer.status_code == 422
    assert "country, device" in answer.text


@pytest.mark.parametrize("channel", ["c0", "c1", "c2"])
def test_a_channels_total_is_the_sum_of_its_videos(place: Place, channel: str) -> None:
    found = place.said(f"/v1/channels/{channel}?kind=like")
    early = [one for one in place.views if one.viewed_ms < START_MS and CHANNELS.get(one.video) == channel]
    of_channel = [*place.of_channel(channel, "like"), *(one for one in early if one.kind == "like")]
    assert found["views"] == len(of_channel)
    assert found["late_added"] == sum(one.arrived_ms - one.viewed_ms > golden.HOUR_MS for one in of_channel)
    through = START + timedelta(hours=place.through_hour)
    assert found["complete_through"] == f"{through:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize("at", [0, 1], ids=["tables", "parquet"])
def test_a_channels_hours_and_days_are_the_sums_of_its_videos(place: Place, at: int) -> None:
    of_channel = place.of_channel("c0", "view")
    for granularity, step_ms in (("hour", golden.HOUR_MS), ("day", DAY_MS)):
        # Once no table has them, what no rollup has counted yet is no longer known at all.
        end = START + (timedelta(days=DAYS - 1) if at else timedelta(days=DAYS))
        points = place.said(
            f"/v1/channels/c0/series?granularity={granularity}&from={START:%Y-%m-%d}T00:00:00Z&to={end:%Y-%m-%d}T00:00:00Z",
            at,
        )["points"]
        counted = Counter((one.viewed_ms - START_MS) // step_ms for one in of_channel)
        through_ms = place.through_hour * golden.HOUR_MS
        for number, point in enumerate(points):
            wanted = counted[number] if number * step_ms < through_ms else None
            assert point["views"] == wanted, (granularity, number)
            assert not point["complete"] or (number + 1) * step_ms <= through_ms


def test_the_list_of_a_channel_and_day_is_paged(place: Place) -> None:
    for day in range(DAYS):
        counted = Counter(one.video for one in place.of_channel("c0", "view") if one.day == day)
        wanted = [
            {"video_id": video, "views": views}
            for video, views in sorted(counted.items(), key=lambda one: (-one[1], one[0]))
        ]
        url = "/v1/top?span=day&channel=c0&limit=1"
        found = place.said(f"{url}&at={START + timedelta(days=day):%Y-%m-%d}T05:00:00Z")
        pages = [found["videos"]]
        while found["next"] is not None:
            found = place.said(f"{url}&cursor={found['next']}")
            pages.append(found["videos"])
        assert pages == [[one] for one in wanted]
        assert (found["channel"], found["full"]) == ("c0", False)
        assert found["start"] == f"{START + timedelta(days=day):%Y-%m-%dT%H:%M:%SZ}"
    newest = place.said("/v1/top?span=day&channel=c1")
    assert newest["start"] == f"{START + timedelta(days=DAYS - 1):%Y-%m-%dT%H:%M:%SZ}"
    assert place.said("/v1/top?span=day&channel=nobody")["videos"] == []
    # A day that no rollup has counted yet.
    assert place.said("/v1/top?span=day&channel=c0&at=2026-01-20T00:00:00Z")["start"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("span=hour&channel=c0", "channel"),
        ("span=clock_hour&channel=c0", "channel"),
        ("span=day&channel=c0&country=DE", "country"),
        ("span=hour&cursor=WzEsMSwxXQ", "cursor"),
        ("span=day&cursor=x", "cursor"),
        ("span=day&cursor=WzEsMSwxXQ", "cursor"),
        # [1,1767225600,1]: of another revision.
        ("span=day&cursor=WzEsMTc2NzIyNTYwMCwxXQ", "cursor"),
        ("span=day&cursor=WzEsMTc2NzIyNTYwMCwxXQ&at=2026-01-01T00:00:00Z", "at"),
    ],
)
def test_what_a_list_of_a_channel_cannot_be_asked_for(place: Place, query: str, field: str) -> None:
    answer = place.client.get(f"/v1/top?{query}")
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, [field])
