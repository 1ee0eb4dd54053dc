"""Query against a real Cassandra, and the migrations that make its tables."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from connectors.cassandra import MigrationChangedError, connect, migrate
from connectors.compacted_topic import write as write_topic
from connectors.kafka_clients import client_config
from services.query.counts.session import ReadSession, StoreAwayError
from services.query.counts.trust import Audited, Trust
from services.query.counts.trust_watch import TrustWatch
from settings import CassandraSettings, HistorySettings, KafkaSettings
from tests.support.registers import put_register
from tests.support.services import service
from tests.support.waiting import eventually
from tools.metadata import VideoMetadata, publish
from tools.stack import Stack
from tools.stack.machine.ports import HOST
from udfs.logic.audit.minutes import Verdict
from udfs.logic.audit.sums import Finding
from udfs.logic.history.manifest import hour_start
from udfs.logic.history.register import Applied
from udfs.sinks.audit_rows import AuditRows

BACK_S = 60.0
INSERT = "INSERT INTO views_by_minute (video_id, kind, day, minute, views) VALUES (%s, %s, %s, %s, %s)"
PROGRESS = "INSERT INTO progress (pipeline, shard, shards, closed_through) VALUES ('view_counts', %s, 2, %s)"
LEDGER = (
    "INSERT INTO ledger (minute, salt, received, counted, duplicate, late, invalid, blocked, dead_lettered, records, "
    "unreadable_records) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


@pytest.fixture(scope="module")
def cassandra(shared_stack: Stack) -> CassandraSettings:
    """Tables of these tests alone."""
    settings = CassandraSettings(hosts=HOST, port=shared_stack.ports["cassandra"], keyspace="asked")
    migrate([HOST], settings.port, settings)
    return settings


@pytest.fixture(scope="module")
def session(cassandra: CassandraSettings) -> Iterator[Any]:
    opened = connect(cassandra)
    put_register(opened, HistorySettings().path)
    yield opened
    opened.cluster.shutdown()


@pytest.fixture(scope="module")
def url(shared_stack: Stack, cassandra: CassandraSettings) -> Iterator[str]:
    variables = {
        **shared_stack.process_environment(),
        "VIEW_COUNTS_CASSANDRA_KEYSPACE": cassandra.keyspace,
        # Each question reads for itself what all answers share, so that it knows what a test has just written.
        "VIEW_COUNTS_QUERY_STALE_S": "0",
    }
    with service("query", variables) as found:
        yield found


@pytest.fixture
def client(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=30, trust_env=False) as http:
        yield http


def write(session: Any, video_id: str, minute: datetime, views: int, kind: str = "view") -> None:
    session.execute(INSERT, (video_id, kind, minute.date(), minute, views))


def test_without_a_register_of_history_nobody_knows_a_total(client: httpx2.Client, session: Any) -> None:
    session.execute("DELETE FROM history_register WHERE name = 'history' IF EXISTS")
    answer = client.get("/v1/videos/nobody/views")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "no register of history" in answer.json()["error"]
    ready = client.get("/readyz")
    assert (ready.status_code, "no register of history" in ready.text) == (200, True)
    put_register(session, HistorySettings().path, made=datetime.now(UTC) - timedelta(days=10))
    assert "no rollup has run for 10 days" in client.get("/v1/videos/nobody/views").json()["error"]
    put_register(session, HistorySettings().path)
    assert client.get("/readyz").text == "ready\n"


@pytest.mark.usefixtures("session")
def test_an_unknown_video_has_no_views(client: httpx2.Client) -> None:
    answer = client.get("/v1/videos/nobody/views")
    assert answer.status_code == 200
    assert answer.json() == {
        "video_id": "nobody",
        "kind": "view",
        "views": 0,
        "imported": 0,
        "blocked": 0,
        "late_added": 0,
        "complete_through": None,
        "late_through": None,
        "history_revision": 0,
        "missing": [],
        "arrivals_through": None,
        "waiting": None,
    }


def test_a_total_and_its_series(client: httpx2.Client, session: Any) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday_noon = midnight - timedelta(hours=12)
    for minute, views in ((0, 4), (59, 3), (60, 5)):
        write(session, "a/b", yesterday_noon + timedelta(minutes=minute), views)
    write(session, "a/b", midnight + timedelta(minutes=1), 2)
    write(session, "a/b", yesterday_noon, 100, kind="like")
    assert client.get("/v1/videos/a/b/views").json()["views"] == 14
    assert client.get("/v1/videos/a%2Fb/views?kind=like").json()["views"] == 100
    span = {"from": yesterday_noon.isoformat(), "to": (midnight + timedelta(hours=1)).isoformat()}
    hours = client.get("/v1/videos/a/b/series", params={"granularity": "hour", **span}).json()["points"]
    assert [point["views"] for point in hours] == [7, 5, *[0] * 10, 2]
    assert hours[0]["start"] == yesterday_noon.strftime("%Y-%m-%dT%H:%M:%SZ")
    minutes = client.get("/v1/videos/a/b/series", params=span).json()["points"]
    assert len(minutes) == 13 * 60
    assert [place for place, point in enumerate(minutes) if point["views"]] == [0, 59, 60, 12 * 60 + 1]


def test_what_the_rollup_has_and_the_minutes_from_there_on_are_one_number(client: httpx2.Client, session: Any) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    through = midnight - timedelta(hours=6)
    hour = int(through.timestamp()) // 3600
    put_register(
        session, HistorySettings().path, Applied("manifests/7-a.json", 7, 0, hour, hour, [(hour - 6, hour - 6)])
    )
    # Three months ago; yesterday until 18:00, a late view more than the stream has.
    last_season = midnight - timedelta(days=90)
    rolled = {last_season: 1000, through.replace(hour=0): 8}
    session.execute(
        "INSERT INTO view_totals (video_id, kind, views, late_added, complete_through) "
        "VALUES ('r', 'view', 1008, 1, %s)",
        (through,),
    )
    for day, views in rolled.items():
        session.execute(
            "INSERT INTO views_by_day (video_id, kind, day, views, late_added, complete_through) "
            "VALUES ('r', 'view', %s, %s, 1, %s)",
            (day.date(), views, min(through, day + timedelta(days=1))),
        )
        session.execute(
            "INSERT INTO views_by_hour (video_id, kind, month, hour, views, late_added) "
            "VALUES ('r', 'view', %s, %s, %s, 1)",
            (day.date().replace(day=1), day + timedelta(hours=12), views),
        )
    for before, views in ((timedelta(hours=5), 7), (-timedelta(hours=1), 20), (-timedelta(hours=7), 300)):
        write(session, "r", through - before, views)
    told = client.get("/v1/videos/r/views").json()
    assert (told["views"], told["late_added"]) == (1008 + 20 + 300, 1)
    assert (told["late_through"], told["history_revision"]) == (f"{through:%Y-%m-%dT%H:%M:%SZ}", 7)
    assert [gap["from"] for gap in told["missing"]] == [f"{through - timedelta(hours=6):%Y-%m-%dT%H:%M:%SZ}"]
    # A kind that the rollup has not met yet.
    write(session, "r", midnight, 4, kind="like")
    assert client.get("/v1/videos/r/views?kind=like").json()["views"] == 4

    def points(granularity: str, start: datetime, end: datetime) -> dict[str, int]:
        span = {"granularity": granularity, "from": start.isoformat(), "to": end.isoformat()}
        found = client.get("/v1/videos/r/series", params=span).json()["points"]
        return {point["start"]: point["views"] for point in found if point["views"]}

    def at(moment: datetime) -> str:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    yesterday = midnight - timedelta(days=1)
    assert points("day", last_season, midnight + timedelta(days=1)) == {
        at(last_season): 1000,
        at(yesterday): 8 + 20,
        at(midnight): 300,
    }
    assert points("hour", last_season, last_season + timedelta(days=1)) == {at(last_season + timedelta(hours=12)): 1000}
    # Up to 18:00 the rollup is believed, also for 13:00, of which it has nothing; the stream's minutes from there on.
    assert points("hour", yesterday, midnight + timedelta(hours=2)) == {
        at(yesterday + timedelta(hours=12)): 8,
        at(through + timedelta(hours=1)): 20,
        at(midnight + timedelta(hours=1)): 300,
    }


def test_complete_through_waits_for_every_shard(client: httpx2.Client, session: Any) -> None:
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    session.execute(PROGRESS, (1, at))
    assert client.get("/v1/videos/A/views").json()["complete_through"] is None
    session.execute(PROGRESS, (0, at - timedelta(minutes=2)))
    # Query reads progress beside the requests.
    through = "2026-01-01T11:58:00Z"
    assert eventually(lambda: client.get("/v1/videos/A/views").json()["complete_through"] == through)
    assert client.get("/v1/videos/A/series").json()["complete_through"] == "2026-01-01T11:58:00Z"


def test_the_ledger_sums_salts_and_says_whether_it_balances(client: httpx2.Client, session: Any) -> None:
    noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
    one_fate_each = (10, 5, 1, 2, 1, 0, 1, 3, 0)
    one_event_missing = (10, 5, 1, 2, 1, 0, 0, 3, 0)
    for minute, salt, tally in ((0, 0, one_fate_each), (0, 1, one_fate_each), (75, 0, one_event_missing)):
        session.execute(LEDGER, (noon + timedelta(minutes=minute), salt, *tally))
    span = {"from": noon.isoformat(), "to": (noon + timedelta(minutes=76)).isoformat()}
    answer = client.get("/v1/ledger", params=span).json()
    assert [(row["start"], row["received"], row["balanced"]) for row in answer["minutes"]] == [
        ("2026-01-05T12:00:00Z", 20, True),
        ("2026-01-05T13:15:00Z", 10, False),
    ]
    assert (answer["total"]["received"], answer["total"]["counted"], answer["total"]["records"]) == (30, 15, 9)
    assert not answer["total"]["balanced"]
    assert client.get("/v1/ledger", params={**span, "to": noon.isoformat()}).json()["minutes"] == []


def test_the_newest_verdicts_of_audits_are_read(cassandra: CassandraSettings, session: Any) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    hour = int(now.timestamp()) // 3600 - 30
    for ago, wrong in ((3, 0), (2, 5), (1, 0)):
        audited = AuditRows(session, now - timedelta(hours=ago))
        audited.verdicts([Verdict(one, 9, 9 - wrong, 0, 0, wrong, wrong, 0) for one in (hour, hour + 1)])
        audited.findings([Finding("ledger", 9, wrong, 0, []), Finding("view_totals", 9, 0, 0, [])])
    audited = AuditRows(session, now)
    audited.verdicts([Verdict(hour, 9, 8, 0, 0, 1, 1, 1)])
    audited.findings([Finding("ledger", 9, 0, 0, [])])

    async def read() -> Trust:
        reads = ReadSession(cassandra)
        reads.start()
        watch = TrustWatch(reads, lambda: now, lateness_ms=600_000)
        async with asyncio.timeout(60):
            while watch.known.stream is None or watch.known.audits is None:
                with contextlib.suppress(StoreAwayError):
                    await watch.read_stream()
                    await watch.read_audits()
                await asyncio.sleep(0.1)
        await reads.stop()
        return watch.known

    audits = asyncio.run(read()).audits
    assert audits is not None
    assert audits.newest == Audited(now, 1, 1)
    assert audits.hours == {
        hour_start(hour): Audited(now, 1, 1),
        hour_start(hour + 1): Audited(now - timedelta(hours=1), 0, 0),
    }


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"/v1/videos/{'x' * 65}/views", "video_id"),
        ("/v1/videos//views", "video_id"),
        ("/v1/videos/A/views?kind=", "kind"),
        ("/v1/videos/A/series?granularity=year", "granularity"),
        ("/v1/videos/A/series?from=x", "from"),
        ("/v1/videos/A/series?to=x", "to"),
        ("/v1/ledger?from=x", "from"),
        ("/v1/top?span=week", "span"),
        ("/v1/top?span=day&country=DEU", "country"),
        ("/v1/top?country=DE", "country"),
        ("/v1/channels/c-1/series?granularity=minute", "granularity"),
        ("/v1/top?limit=0", "limit"),
        ("/v1/top?limit=101", "limit"),
        ("/v1/top?limit=ten", "limit"),
        ("/v1/top?kind=", "kind"),
        ("/v1/top?at=now", "at"),
        ("/v1/ledger?from=2026-01-01T00:00:00Z&to=2026-01-02T00:01:00Z", "from"),
    ],
)
def test_a_bad_parameter_is_422(client: httpx2.Client, path: str, field: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_migrations_run_once_and_never_change(cassandra: CassandraSettings, session: Any) -> None:
    assert migrate([HOST], cassandra.port, cassandra) == []
    fresh = cassandra.model_copy(update={"keyspace": "fresh"})
    assert migrate([HOST], cassandra.port, fresh)[0] == "001_counts"
    assert migrate([HOST], cassandra.port, fresh) == []
    session.execute("UPDATE fresh.schema_migrations SET checksum = 'x' WHERE name = '001_counts'")
    with pytest.raises(MigrationChangedError, match="001_counts"):
        migrate([HOST], cassandra.port, fresh)


def test_a_stream_ends_with_its_process_and_says_so(
    shared_stack: Stack, cassandra: CassandraSettings, session: Any
) -> None:
    variables = {**shared_stack.process_environment(), "VIEW_COUNTS_CASSANDRA_KEYSPACE": cassandra.keyspace}
    write(session, "listened", datetime.now(UTC).replace(second=0, microsecond=0), 3)
    with httpx2.Client(timeout=60, trust_env=False) as http:
        with service("query", variables) as url:
            stream = http.send(http.build_request("GET", f"{url}/v1/videos/listened/live"), stream=True)
            lines = stream.iter_lines()
            found = json.loads(next(line for line in lines if line.startswith("data: ")).removeprefix("data: "))
            assert found["views"] == 3
            total = http.get(f"{url}/v1/videos/listened/views").json()
            assert {**total, "every_s": 1}.keys() == found.keys()
        # The process has ended by now, and the stream is whole.
        assert [line for line in lines if line.startswith("event: ")][-1] == "event: end"


def test_search_follows_the_topic_of_metadata(shared_stack: Stack, cassandra: CassandraSettings) -> None:
    topic = "searched-metadata"
    kafka = KafkaSettings(bootstrap_servers=shared_stack.endpoints["kafka"], metadata_topic=topic)
    admin = AdminClient(client_config(kafka))
    admin.create_topics([NewTopic(topic, 2, 1, config={"cleanup.policy": "compact"})])[topic].result(30)
    variables = {
        **shared_stack.process_environment(),
        "VIEW_COUNTS_CASSANDRA_KEYSPACE": cassandra.keyspace,
        "VIEW_COUNTS_KAFKA_METADATA_TOPIC": topic,
    }

    def about(video_id: str, title: str) -> VideoMetadata:
        return VideoMetadata(video_id, title, "c-1", "Night sky", 1000)

    publish(kafka, [about("before", "Étoile du Nord"), about("gone", "Étoile du Sud")])
    with service("query", variables) as url, httpx2.Client(base_url=url, timeout=30, trust_env=False) as http:

        def found(text: str) -> list[str]:
            answer = http.get("/v1/search", params={"q": text})
            if answer.status_code != httpx2.codes.OK or not answer.json()["index"]["complete"]:
                return ["not complete"]
            return [one["video_id"] for one in answer.json()["videos"]]

        assert eventually(lambda: sorted(found("etoile")) == ["before", "gone"]), found("etoile")
        publish(kafka, [about("after", "Étoile polaire")])
        write_topic(kafka, topic, [(b"gone", None)])
        assert eventually(lambda: sorted(found("etoile")) == ["after", "before"]), found("etoile")


def test_cassandra_away_is_the_last_answer_or_503_until_it_is_back(shared_stack: Stack, client: httpx2.Client) -> None:
    known = client.get("/v1/videos/A/views").json()
    shared_stack.stop_part("cassandra")
    old = client.get("/v1/videos/A/views")
    assert (old.status_code, int(old.headers["view-counts-age"]) >= 0) == (200, True)
    assert {**old.json(), "degraded": None, "as_of": None} == {**known, "degraded": None, "as_of": None}
    assert old.json()["degraded"][0]["what"] == "answer"
    answer = client.get("/v1/videos/never-asked-for/views")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    shared_stack.start_part("cassandra")
    assert eventually(lambda: "degraded" not in client.get("/v1/videos/A/views").json(), BACK_S)
    assert client.get("/v1/videos/never-asked-for/views").json()["views"] == 0
