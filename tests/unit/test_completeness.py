"""What nobody knows is never answered as 0: rollups that are behind, registers that are not there, gaps. No server."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pyarrow.fs
import pytest

from services.query import app
from services.query.api.parameters.series import STEPS
from services.query.counts import zones
from services.query.counts.cold import History
from services.query.counts.completeness import ALWAYS, HistoryAwayError, Lost, history_state, lost_notice, notices
from services.query.counts.series import Series
from settings import Settings
from tests.support.history import Counts, write_history
from tests.support.registers import applied_of, put_manifest, register_of
from tests.support.tables import Tables
from tests.support.zones import dated, local_days
from udfs.logic.history.manifest import no_history
from udfs.logic.history.register import Applied, Register, nothing_applied
from udfs.stores.history_reader import HistoryFiles
from udfs.stores.history_store import HistoryStore

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = datetime(2026, 3, 20, 15, 30, tzinfo=UTC)
MANIFEST = "manifests/00000000000000000007-a.json"
PATH = Settings().history.path
CUT = datetime(2026, 3, 13, 15, tzinfo=UTC)
Ask = Callable[..., httpx2.Response]


def hour_of(at: datetime) -> int:
    return int(at.timestamp()) // 3600


def minute_of(at: datetime) -> int:
    return int(at.timestamp()) // 60


def iso(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def rolled_through(at: datetime, **more: Any) -> Applied:
    """What a rollup has applied that has counted all hours up to then."""
    fields = {
        "manifest": MANIFEST,
        "revision": 7,
        "from_hour": 0,
        "through_hour": hour_of(at),
        "late_through_hour": hour_of(at) + 1,
    }
    return Applied(**{**fields, **more})


def a_hundred_a_day(days: int) -> dict[tuple[str, str, int], int]:
    """At noon of each of the last days, today the last."""
    noon = NOW.replace(hour=12, minute=0)
    return {("A", "view", minute_of(noon - ago * DAY)): 100 for ago in range(days)}


@pytest.fixture
def history(tmp_path: Path) -> History:
    """With a manifest that names no file: nothing was viewed that long ago."""
    root = str(tmp_path / "history")
    put_manifest(HistoryStore(pyarrow.fs.LocalFileSystem(), root), no_history(2), name=MANIFEST)
    return History(HistoryFiles(pyarrow.fs.LocalFileSystem(), root), files_max=3000)


@pytest.fixture
def serve(history: History, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ask]:
    """The service over tables in which there is what is said here."""

    def over(counts: Counts, register: Register | None, **more: Any) -> Ask:
        monkeypatch.setattr(app, "CountStore", lambda *_: Tables(history, counts, NOW, register, **more))

        def ask(path: str, **query: str) -> httpx2.Response:
            async def one() -> httpx2.Response:
                service = app.build_service(Settings(), lambda: NOW)
                transport = httpx2.ASGITransport(service.private if path == "/metrics" else service.public)
                async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
                    return await client.get(path, params=query)

            return asyncio.run(one())

        return ask

    return over


def register(applied: Applied | None, *, age: timedelta = 90 * DAY) -> Register:
    return register_of(PATH, applied, NOW - age)


VIEWS = "/v1/videos/A/views"
SERIES = "/v1/videos/A/series"
CHANNEL = "/v1/channels/c/series"


def test_a_rollup_that_stopped_20_days_ago_makes_no_total_smaller_and_no_day_0(serve: Callable[..., Ask]) -> None:
    stopped = NOW.replace(hour=0, minute=0) - 20 * DAY
    ask = serve(a_hundred_a_day(40), register(rolled_through(stopped)))
    total = ask(VIEWS)
    assert (total.status_code, total.headers["retry-after"]) == (503, "1"), total.text
    assert "complete through 2026-02-28T00:00Z" in total.json()["error"]
    assert "2026-03-13T15:00Z" in total.json()["error"]

    def answers(start: datetime, end: datetime) -> list[httpx2.Response]:
        span = {"from": iso(start), "to": iso(end)}
        asked = [{"granularity": step} for step in STEPS]
        asked += [{"granularity": "day", "zone": zone} for zone in ("Europe/Berlin", "Asia/Kathmandu")]
        return [ask(SERIES, **one, **span) for one in asked]

    for answer in answers(stopped + 5 * DAY, stopped + 6 * DAY):
        assert answer.status_code == 503
    # Over an end of the hole, by an hour or more: points that have a part of it are null, and no others.
    for start, end in ((stopped - HOUR, stopped + HOUR), (stopped - 2 * DAY, NOW), (CUT - HOUR, NOW)):
        for answer in answers(start, end):
            if answer.status_code == 503:
                # Days of which the hole has a part each.
                assert end - start == 2 * HOUR
                continue
            found = answer.json()
            (hole,) = found["degraded"]
            assert (hole["what"], "complete through 2026-02-28T00:00Z" in hole["reason"]) == ("history", True)
            starts = [datetime.fromisoformat(point["start"]) for point in found["points"]]
            step = starts[1] - starts[0]
            for point, begins in zip(found["points"], starts, strict=True):
                is_unknown = begins < CUT and begins + step > stopped
                assert (point["views"] is None) == is_unknown, point
                assert not (is_unknown and point["complete"])
            known = [point["views"] for point in found["points"] if point["views"] is not None]
            if step == DAY and end == NOW:
                assert set(known[:-1]) == {100}
    # What lies on either side is as it is.
    for answer in answers(CUT.replace(hour=0) + 2 * DAY, NOW):
        assert (answer.status_code, "degraded" in answer.json()) == (200, False)
    recent = ask(SERIES, granularity="day", **{"from": iso(CUT + DAY), "to": iso(NOW)}).json()["points"]
    assert [point["views"] for point in recent] == [100] * 7
    older = ask(SERIES, granularity="day", **{"from": iso(stopped - 10 * DAY), "to": iso(stopped)}).json()["points"]
    assert [point["views"] for point in older] == [100] * 10
    for path, query in (
        (CHANNEL, {"from": iso(stopped + DAY), "to": iso(stopped + 2 * DAY)}),
        ("/v1/top", {"span": "clock_hour"}),
        ("/v1/top", {"span": "day"}),
        ("/v1/top", {"span": "day", "at": iso(stopped + DAY)}),
        ("/v1/videos/A/history", {"day": f"{stopped + DAY:%Y-%m-%d}"}),
    ):
        assert ask(path, **query).status_code == 503, (path, query)
    assert ask("/v1/top").status_code == 200
    assert ask("/v1/ledger").status_code == 200


def test_with_the_rollup_up_to_date_all_of_that_is_answered(serve: Callable[..., Ask]) -> None:
    ask = serve(a_hundred_a_day(40), register(rolled_through(NOW.replace(minute=0) - HOUR)))
    total = ask(VIEWS).json()
    assert total["views"] == 4000
    assert (total["late_through"], total["history_revision"]) == ("2026-03-20T15:00:00Z", 7)
    assert total["missing"] == []
    days = ask(SERIES, granularity="day", **{"from": iso(NOW - 39 * DAY), "to": iso(NOW)}).json()
    assert [point["views"] for point in days["points"]] == [100] * 40
    assert (days["late_through"], days["history_revision"], days["missing"]) == ("2026-03-20T15:00:00Z", 7, [])


def test_the_last_hour_before_the_cut_decides(serve: Callable[..., Ask]) -> None:
    assert serve({}, register(rolled_through(CUT)))(VIEWS).json()["views"] == 0
    assert serve({}, register(rolled_through(CUT - HOUR)))(VIEWS).status_code == 503


def test_without_a_register_or_before_restored_rows_nothing_is_told(serve: Callable[..., Ask]) -> None:
    for row, text in ((None, "python -m tools.ops history init"), (register(None), "the next rollup writes them")):
        ask = serve(a_hundred_a_day(3), row)
        for path, query in ((VIEWS, {}), (SERIES, {}), (CHANNEL, {}), ("/v1/top", {"span": "day"})):
            answer = ask(path, **query)
            assert answer.status_code == 503
            assert text in answer.json()["error"]
        assert ask("/v1/top").status_code == 200
        ready = ask("/readyz")
        assert ready.status_code == 200
        assert text in ready.text
        assert "view_counts_history_revision NaN" in ask("/metrics").text
        assert "view_counts_access_keys_unreadable 0.0" in ask("/metrics").text


def test_before_the_first_rollup_minutes_are_all_until_the_oldest_go(serve: Callable[..., Ask]) -> None:
    week = {"granularity": "day", "from": iso(NOW - 30 * DAY), "to": iso(NOW)}
    young = serve(a_hundred_a_day(3), register(nothing_applied(), age=NOW - CUT))
    answer = young(VIEWS).json()
    assert (answer["views"], answer["late_through"], answer["history_revision"], answer["missing"]) == (
        300,
        None,
        0,
        [],
    )
    assert sum(point["views"] for point in young(SERIES, **week).json()["points"]) == 300
    old = serve(a_hundred_a_day(30), register(nothing_applied(), age=NOW - CUT + timedelta(seconds=1)))
    unknown = week | {"to": iso(CUT - DAY)}
    for path, query in ((VIEWS, {}), (SERIES, unknown), (CHANNEL, week | {"granularity": "hour"})):
        answer = old(path, **query)
        assert answer.status_code == 503
        assert "no rollup has run for 7 days" in answer.json()["error"]
    month = [point["views"] for point in old(SERIES, **week).json()["points"]]
    assert month == [None] * 24 + [100] * 7
    # The last hour's minutes are there whatever rollups do.
    assert old(SERIES).status_code == 200


def test_hours_of_a_channel_are_null_until_they_are_counted(serve: Callable[..., Ask]) -> None:
    counts = {("A", "view", minute_of(NOW - ago * HOUR)): ago for ago in (1, 2, 3)}
    ask = serve(counts, register(rolled_through(NOW.replace(minute=0) - HOUR)), channels={"A": "c"})

    def points(start: datetime, end: datetime) -> list[int | None]:
        answer = ask(CHANNEL, **{"from": iso(start), "to": iso(end)}).json()
        assert answer["complete_through"] == "2026-03-20T14:00:00Z"
        return [point["views"] for point in answer["points"]]

    # 14:00 has a view, and is not complete; 15:00 is not over.
    assert points(NOW - 4 * HOUR, NOW) == [0, 3, 2, None, None]


def test_a_closed_list_of_nothing_is_another_than_one_that_is_not_made(serve: Callable[..., Ask]) -> None:
    ask = serve({}, register(rolled_through(NOW.replace(minute=0) - HOUR)))

    def told(span: str, at: datetime) -> tuple[str | None, str | None]:
        answer = ask("/v1/top", span=span, at=iso(at)).json()
        assert answer["videos"] == []
        return answer["start"], answer["complete_through"]

    assert told("clock_hour", NOW - 3 * HOUR) == ("2026-03-20T12:00:00Z", "2026-03-20T13:00:00Z")
    assert told("clock_hour", NOW - HOUR) == (None, None)
    assert told("clock_hour", NOW - 99 * DAY - HOUR) == (None, None)
    assert told("day", NOW) == ("2026-03-20T00:00:00Z", "2026-03-20T14:00:00Z")
    assert told("day", NOW - 900 * DAY) == ("2023-10-02T00:00:00Z", "2023-10-03T00:00:00Z")
    assert told("day", NOW + DAY) == (None, None)


def test_gaps_of_the_archive_are_named_where_they_were_asked_for(serve: Callable[..., Ask]) -> None:
    through = NOW.replace(minute=0) - HOUR
    first = hour_of(through - 10 * HOUR)
    old = hour_of(CUT - 30 * HOUR)
    gaps = [(old, old + 1), (first, first), (first + 9, first + 20)]
    ask = serve({}, register(rolled_through(through, gap_hours=gaps, from_hour=hour_of(NOW - 50 * DAY))))
    ancient = {"from": None, "to": "2026-01-29T15:00:00Z"}
    long_ago = {"from": "2026-03-12T09:00:00Z", "to": "2026-03-12T11:00:00Z"}
    # Of hours that history does not have yet the stream's minutes lack nothing.
    recent = [
        {"from": "2026-03-20T04:00:00Z", "to": "2026-03-20T05:00:00Z"},
        {"from": "2026-03-20T13:00:00Z", "to": "2026-03-20T14:00:00Z"},
    ]
    assert ask(VIEWS).json()["missing"] == [ancient, long_ago, *recent]

    def missing(granularity: str, start: str, end: str, path: str = SERIES, **more: str) -> list[dict[str, str]]:
        answer = ask(path, granularity=granularity, **{"from": start, "to": end}, **more)
        found: list[dict[str, str]] = answer.json()["missing"]
        return found

    today = "2026-03-20T00:00:00Z", "2026-03-20T15:00:00Z"
    assert missing("hour", *today) == missing("day", *today) == missing("hour", *today, CHANNEL) == recent
    assert missing("hour", "2026-03-20T05:00:00Z", "2026-03-20T13:00:00Z") == []
    assert missing("day", *today, zone="Europe/Berlin") == recent
    # Minutes of today are the stream's, and those of last week history's.
    assert missing("minute", *today) == []
    assert missing("minute", "2026-03-12T10:30:00Z", "2026-03-12T12:00:00Z") == [
        {"from": "2026-03-12T10:30:00Z", "to": "2026-03-12T11:00:00Z"}
    ]
    assert missing("day", "2026-01-28T00:00:00Z", "2026-01-30T00:00:00Z") == [
        {"from": "2026-01-28T00:00:00Z", "to": "2026-01-29T15:00:00Z"}
    ]
    top = ask("/v1/top", span="clock_hour", at="2026-03-12T10:00:00Z").json()
    assert top["missing"] == [{"from": "2026-03-12T10:00:00Z", "to": "2026-03-12T11:00:00Z"}]


def test_readiness_names_what_is_wrong_and_stays_200(serve: Callable[..., Ask]) -> None:
    fresh = rolled_through(NOW.replace(minute=0) - 2 * HOUR)
    assert serve({}, register(fresh))("/readyz").text == "ready\n"
    warned = rolled_through(NOW - 5 * HOUR, warnings=["a rule of the bucket\nremoves raw events", "b"])
    answer = serve({}, register(warned))("/readyz")
    assert (answer.status_code, answer.text.splitlines()) == (
        200,
        [
            "ready",
            "a rule of the bucket removes raw events",
            "b",
            "history is behind: complete through 2026-03-20T10:00Z, 5 hours",
        ],
    )
    never = notices(register(nothing_applied(), age=30 * HOUR), path=PATH, now=NOW)
    assert never == ["history is behind: no rollup has run since 2026-03-19T09:30Z, 30 hours"]
    (elsewhere,) = notices(register(fresh), path="s3://other/place", now=NOW)
    assert "history.path=s3://other/place" in elsewhere
    assert PATH in elsewhere


def test_late_events_that_no_rollup_has_added_are_no_fault(history: History) -> None:
    """The total has them when history does, and is the sum of its hours before and after."""
    at = NOW - 5 * HOUR
    stream, true = {("A", "view", minute_of(at)): 10}, {("A", "view", minute_of(at)): 13}
    for through, views in ((at.replace(minute=0), 10), (NOW.replace(minute=0) - HOUR, 13)):
        tables = Tables(history, stream, NOW, register(rolled_through(through)), rolled=true)
        # Of these the rollup has added three late ones, as soon as it has counted their hour.
        total = asyncio.run(tables.totals("A", ("view", "like"), tables.all_known, now=NOW))
        assert (total.views, total.late_added) == ((views, 0), (views - 10, 0))
        for step in (HOUR, DAY):
            series = Series(step, NOW.replace(hour=0, minute=0), NOW.replace(hour=0, minute=0) + DAY)
            found = asyncio.run(tables.series("A", "view", series, tables.known, now=NOW))
            assert sum(views for _, views in found) == views


def test_what_history_lacks_is_lacking_in_hours_days_and_totals_alike(history: History) -> None:
    """The archive lost an hour that the stream has counted; numbers of one video still add up."""
    cells = {("A", "view", minute_of(NOW - ago * HOUR)): ago for ago in range(1, 12)}
    lost = {cell: views for cell, views in cells.items() if views not in {5, 6}}
    tables = Tables(history, cells, NOW, register(rolled_through(NOW.replace(minute=0) - 3 * HOUR)), rolled=lost)
    today = NOW.replace(hour=0, minute=0)
    (total,) = asyncio.run(tables.totals("A", ("view",), tables.all_known, now=NOW)).views
    for step in (HOUR, DAY):
        found = asyncio.run(tables.series("A", "view", Series(step, today, today + DAY), tables.known, now=NOW))
        assert sum(views for _, views in found) == total == sum(lost.values())


@pytest.mark.slow
def test_days_of_every_zone_are_the_sums_of_their_minutes_late_ones_too(history: History, tmp_path: Path) -> None:
    first, through = NOW.replace(hour=0, minute=0) - 4 * DAY, NOW.replace(minute=0) - HOUR
    quarters = range(minute_of(first), minute_of(NOW), 15)
    stream = {("A", "view", at + 7): at % 11 + 1 for at in quarters}
    # Late ones in each quarter of an hour, another number in each; history has them up to where it reaches.
    true = {cell: views + cell[2] % 29 + 1 for cell, views in stream.items()}
    store = HistoryStore(pyarrow.fs.LocalFileSystem(), str(tmp_path / "history"))
    manifest = write_history(
        store,
        {cell: views for cell, views in true.items() if cell[2] < minute_of(through)},
        shards=2,
        from_hour=0,
        through_hour=hour_of(through),
    )
    row = register_of(PATH, applied_of(put_manifest(store, manifest), manifest), first)
    tables = Tables(history, stream, NOW, row, rolled=true)
    end = minute_of(through)
    told = {cell[2]: true[cell] if cell[2] < end else views for cell, views in stream.items()}

    async def check() -> int:
        split = 0
        for name in sorted(zones.names()):
            zone = ZoneInfo(name)
            days = local_days(zone, (first + DAY).astimezone(zone).date(), NOW)
            split += bool(days.pieces.split_hours)
            want: Counter[str] = Counter()
            for minute, views in told.items():
                want[str(datetime.fromtimestamp(minute * 60, zone).date())] += views
            found = dated(days, await tables.points("A", "view", days, tables.known, now=NOW))
            assert found == [(day, want[str(day)]) for day, _ in found], name
            assert len(found) >= 3
        return split

    assert asyncio.run(check()) >= 11, "zones of half hours were among them"


def test_what_kafka_had_no_longer_is_missing_in_minutes_of_the_stream_and_not_in_history() -> None:
    at = CUT.replace(tzinfo=None)
    lost = [Lost(5, at - 2 * HOUR, at + HOUR), Lost(7, at + 30 * MINUTE, at + 2 * HOUR)]
    found = history_state(register(rolled_through(CUT)), lost)
    assert found.missing([(CUT - DAY, CUT + DAY)]) == [(CUT, CUT + 2 * HOUR)]
    assert found.missing([(CUT + HOUR, CUT + HOUR + MINUTE)]) == [(CUT + HOUR, CUT + HOUR + MINUTE)]
    assert found.missing([(CUT + 2 * HOUR, NOW), (CUT - DAY, CUT)]) == []
    # Whatever was viewed before, when nobody knows how far the stream was.
    nothing = history_state(register(nothing_applied()), [Lost(1, None, at)])
    assert nothing.missing([(CUT - DAY, CUT + DAY)]) == [(CUT - DAY, CUT)]
    (sentence,) = lost_notice(lost)
    assert sentence.startswith("the stream lacks 12 records, which Kafka had deleted before the count job was started")
    assert f"viewed before {CUT + 2 * HOUR:%Y-%m-%dT%H:%MZ}" in sentence
    assert lost_notice([]) == []


def test_what_is_known_is_what_the_register_says() -> None:
    found = history_state(register(rolled_through(CUT, from_hour=hour_of(CUT - DAY))))
    assert (found.through, found.start, found.end) == (CUT, CUT - DAY, CUT)
    assert found.gaps == ((ALWAYS, CUT - DAY),)
    nothing = history_state(register(nothing_applied()))
    assert (nothing.through, nothing.end, nothing.late_through, nothing.gaps) == (None, ALWAYS, None, ())
    with pytest.raises(HistoryAwayError, match="no register"):
        history_state(None)
