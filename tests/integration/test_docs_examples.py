"""What the docs tell a reader to type works: every CQL query on a real Cassandra, every curl on the real services."""

import contextlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pyarrow as pa
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from connectors.cassandra import connect
from schemas import registry
from settings import CassandraSettings, HistorySettings
from tests.support.docs_commands import Shown
from tests.support.history import write_history
from tests.support.registers import applied_of, put_manifest, put_register
from tests.unit.test_docs_commands import typed_commands
from tools.cli import app
from tools.ops.app import app as operators
from tools.stack import Stack, StackOptions
from tools.stack.layout import HOME_VARIABLE
from tools.stack.machine.ports import DEFAULT_PORTS, HOST
from tools.stack.object_store import s3_settings
from udfs.logic.audit.minutes import Correction, Verdict
from udfs.logic.audit.sums import DIFFERENCES, Finding
from udfs.logic.history.channel_sums import CHANNEL_TOTALS, CHANNELS
from udfs.logic.history.manifest import file_name
from udfs.logic.minutes.cells import Cell, dated_row
from udfs.logic.wire.keyed_records import Keyed
from udfs.logic.wire.metadata import read_metadata
from udfs.sinks.audit_rows import AuditRows
from udfs.sinks.cassandra_writer import CountWriter, TopList
from udfs.sinks.history_rows import HistoryRows
from udfs.sinks.metadata_writer import MetadataWriter
from udfs.stores.archive import filesystem
from udfs.stores.history_store import HistoryStore

ROOT = Path(__file__).parents[2]
ANALYSTS = (ROOT / "docs" / "analysts.md").read_text()
API = (ROOT / "docs" / "api.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
README = (ROOT / "README.md").read_text()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
# Of the examples, in µs as all are.
REVISION = 1_767_276_180_000_000
IMPORTED_DAY = date(2025, 11, 3)
CREATED = datetime(2025, 6, 1, 8, tzinfo=UTC)
AUDITED = datetime(2026, 1, 2, 6, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHELL_NOW = "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
# What an answer to events has only where there is something to say.
SOMETIMES = {"event_ids", "ignored"}
KEY_WORDS = {"partition": "partition_key", "clustering": "clustering", "static": "static", "": "regular"}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def curls(page: str) -> list[list[str]]:
    """The words of every curl command of the page's sh blocks."""
    commands = (
        command for block in blocks(page, "sh") for command in re.split(r"^(?=curl )", block, flags=re.MULTILINE)
    )
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return [shlex.split(one.replace(SHELL_NOW, at)) for one in commands if one.startswith("curl ")]


def minute(hours: int = 0, minutes: int = 0) -> int:
    return (NOON + timedelta(hours=hours, minutes=minutes) - EPOCH) // timedelta(minutes=1)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    options = StackOptions(
        home=tmp_path_factory.mktemp("docs"),
        ports="free",
        parts=("kafka", "cassandra", "seaweedfs", "ingest", "query"),
        graceful_stop=False,
    )
    with Stack(options) as running:
        running.wait_ready("ingest", "query")
        yield running


@pytest.fixture(scope="module")
def session(stack: Stack) -> Iterator[Any]:
    """On tables that the job's own writer has filled."""
    settings = CassandraSettings(hosts=HOST, port=stack.ports["cassandra"])
    opened = connect(settings)
    writer = CountWriter(opened, settings, "view_counts", shards=2)
    views_of_a = {minute(): 4, minute(0, 59): 3, minute(1): 5, minute(12): 1}
    cells = [Cell(b"A", b"view", at, views) for at, views in views_of_a.items()]
    cells += [Cell(b"A", b"like", minute(), 9), Cell(b"B", b"view", minute(), 100)]
    writer.counts(b"".join(map(dated_row, cells)))
    # salt, minute, then the columns of the table from received to clamped_records
    writer.ledger(
        [
            (0, minute(), 10, 5, 1, 2, 1, 0, 1, 3, 0, 0),
            (0, minute(0, 1), 1, 1, 0, 0, 0, 0, 0, 60, 0, 0),
            (1, minute(), 7, 7, 0, 0, 0, 0, 0, 60, 2, 0),
        ]
    )
    viewed = TopList(b"view", "hour", minute(0, 48), 7, [(b"A", 7, 0)])
    writer.top(0, [viewed])
    about = {"title": "Aurora", "channel_id": "c-1", "channel_name": "Night sky", "created_at": CREATED}
    known = read_metadata(b"A", registry.encode("VideoMetadata", {"video_id": "A", **about}))
    assert isinstance(known, Keyed)
    assert known.rest is not None
    MetadataWriter(opened, settings).top(0, [(viewed, {b"A": known.rest})])
    likes = TopList(b"like", "hour", minute(0, 48), 109, [(b"A", 9, 0)])
    writer.top(1, [TopList(b"view", "hour", minute(0, 48), 109, [(b"B", 100, 0)]), likes])
    with contextlib.closing(HistoryRows(settings, token=REVISION)) as rolled:
        names = ("video_id", "kind", "views", "late_added")
        for hour, views in ((NOON, 7), (NOON + timedelta(hours=1), 5)):
            rolled.hours(pa.table(dict(zip(names, (["A"], ["view"], [views], [1]), strict=True))), hour)
        sums = pa.table(dict(zip(names, (["A"], ["view"], [12], [2]), strict=True)))
        rolled.days(sums, NOON.date(), NOON + timedelta(hours=2))
        rolled.totals(sums, NOON + timedelta(hours=2))
        imported = {"video_id": ["A"], "kind": ["view"]}
        rolled.imported_totals(pa.table({**imported, "views": [40]}))
        rolled.imported_days(pa.table({**imported, "day": [IMPORTED_DAY], "views": [30]}))
        kinds = {"video_id": ["A"], "left_out": [0]}
        rolled.kinds(pa.table({**kinds, "kinds": ['["like","view"]']}))
        rolled.imported_kinds(pa.table({**kinds, "kinds": ['["view"]']}))
        of_a = {"video_id": ["A"], "kind": ["view"], "marked": [4]}
        rolled.viewers(pa.table({**of_a, "viewers": [8]}), NOON.date())
        rules = "viewer_minute_max=60 viewer_day_max=1000"
        rolled.changes(
            pa.table({**of_a, "views": [12]}),
            NOON.date(),
            7,
            NOON + timedelta(hours=12, minutes=3),
            "day complete",
            rules,
        )
        rolled.channels(
            pa.table(dict(zip(("channel_id", *names[1:]), (["c-1"], ["view"], [7], [1]), strict=True))), NOON
        )
        tops = {"kind": ["view"], "rank": [1], "video_id": ["A"]}
        rolled.top_of_hour(pa.table({**tops, "country": ["DE"], "views": [7]}), NOON)
        rolled.top_of_day(pa.table({**tops, "country": ["*"], "views": [12]}), NOON.date(), NOON + timedelta(hours=2))
    # The services' clock is the real one: what is asked for is history.
    s3 = s3_settings(stack)
    store = HistoryStore(filesystem(s3), HistorySettings().path)
    manifest = write_history(
        store,
        {("A", "view", at): views for at, views in views_of_a.items()},
        shards=2,
        from_hour=0,
        through_hour=int(datetime.now(UTC).timestamp()) // 3600,
    )
    of_channel = {"channel_id": ["c-1"], "kind": ["view"], "views": [7], "late_added": [1]}
    channels = pa.table({**of_channel, "hour": [NOON]}).select(CHANNELS.names).cast(CHANNELS)
    for data_set, at, table in (
        ("channels", minute() // 60, channels),
        ("channel_totals", 0, pa.table(of_channel, schema=CHANNEL_TOTALS)),
    ):
        path = file_name(data_set, at, 0, "1-test")
        store.put(path, table)
        manifest.files[data_set][at] = {0: path}
    applied = applied_of(put_manifest(store, manifest), manifest, late_through_hour=minute(1) // 60, revision=REVISION)
    put_register(opened, HistorySettings().path, applied)
    audited = AuditRows(opened, CREATED)
    hour_number = minute() // 60
    wrong = Correction("A", "view", minute() * 60_000, "wrong", 3, 4, 0)
    audited.corrections(hour_number, [wrong], token=None)
    audited.verdicts([Verdict(hour_number, 3, 2, 0, 0, 1, 1, 0)])
    # Of a total that is not what it should be.
    number = {"video_id": ["A"], "kind": ["view"], "at": [0], "before": [11], "after": [12]}
    late = {"late_before": [2], "late_after": [2]}
    audited_later = AuditRows(opened, AUDITED)
    audited_later.sums("view_totals", 0, pa.table({**number, **late}, schema=DIFFERENCES), is_repair=True)
    audited_later.findings([Finding("view_totals", 3, 1, 1, [(0, 0)])])
    writer.closed(0, minute(0, 48))
    writer.closed(1, minute(0, 49))
    yield opened
    opened.cluster.shutdown()


def naive(at: datetime) -> datetime:
    return at.replace(tzinfo=None)


# The answer to each CQL block of docs/analysts.md, in order; None: not to be foretold.
ANSWERS: list[list[tuple[object, ...]] | None] = [
    [
        (naive(NOON), 4),
        (naive(NOON + timedelta(minutes=59)), 3),
        (naive(NOON + timedelta(hours=1)), 5),
    ],
    [(naive(NOON), 4), (naive(NOON + timedelta(minutes=59)), 3)],
    [(12,)],
    [(naive(NOON), 7), (naive(NOON + timedelta(hours=1)), 5)],
    [("like", date(2026, 1, 1), 9), ("view", date(2026, 1, 1), 12), ("view", date(2026, 1, 2), 1)],
    [(5,)],
    [(naive(NOON + timedelta(minutes=49)), 2, 2)],
    [(17, 12, 1, 2, 1, 0, 1, 2)],
    [(0, 10, 3), (1, 7, 60)],
    [(18, 13)],
    [(0, [("A", 7, 0)], {"A": ("Aurora", "c-1", "Night sky", naive(CREATED))}), (1, [("B", 100, 0)], None)],
    [(naive(NOON), 7), (naive(NOON + timedelta(hours=1)), 5)],
    [(date(2026, 1, 1), 12, 8, 4)],
    None,
    [(12, naive(NOON + timedelta(hours=2)))],
    [(40,)],
    [(IMPORTED_DAY, 30)],
    [('["like","view"]', 0)],
    [('["view"]', 0)],
    [(naive(NOON), 7)],
    [([("A", 7)],)],
    [([("A", 12)], naive(NOON + timedelta(hours=2)))],
    [(naive(NOON), 3, 2, 0, 1, 0)],
    [("A", "view", naive(NOON), "wrong", 3, 4)],
    None,
    [(naive(AUDITED), "view_totals", 3, 1, 1)],
    [(naive(EPOCH), "A", "view", 11, 12, True)],
    None,
]


def plain(value: Any) -> object:
    """The driver's own Date as Python's."""
    return value.date() if type(value).__name__ == "Date" else value


@pytest.mark.parametrize(("query", "answer"), list(zip(blocks(ANALYSTS, "cql"), ANSWERS, strict=True)))
def test_a_documented_query_answers_what_is_there(
    session: Any, query: str, answer: list[tuple[object, ...]] | None
) -> None:
    rows = [tuple(plain(value) for value in row) for row in session.execute(query.strip().removesuffix(";"))]
    assert rows
    if answer is not None:
        assert sorted(rows, key=repr) == sorted(answer, key=repr)


def test_the_documented_columns_are_those_of_the_tables(session: Any) -> None:
    documented = {}
    for section in re.split(r"^## ", ANALYSTS, flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| `(\w+)` \| (\w*) ?\|", section, re.MULTILINE)
        documented[section.split("\n", maxsplit=1)[0]] = {name: KEY_WORDS[key] for name, key in rows}
    tables: dict[str, dict[str, str]] = {}
    for row in session.execute(
        "SELECT table_name, column_name, kind FROM system_schema.columns WHERE keyspace_name = 'view_counts'"
    ):
        tables.setdefault(row.table_name, {})[row.column_name] = row.kind
    assert documented == tables


def ask(stack: Stack, words: list[str]) -> httpx2.Response:
    """Send what curl would, to the same service of this stack. Knows -s, -H and -d."""
    headers: dict[str, str] = {}
    url, body = "", None
    rest = iter(words[1:])
    for word in rest:
        if word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(rest)
        elif word != "-s":
            url = word
    service = next(name for name in ("ingest", "query") if f":{DEFAULT_PORTS[name]}/" in url)
    url = url.replace(f"http://127.0.0.1:{DEFAULT_PORTS[service]}", stack.endpoints[service])
    return httpx2.request("GET" if body is None else "POST", url, headers=headers, content=body, timeout=60)


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("words", [*curls(API), *curls(README)], ids=lambda words: f"{words[2]:.80}")
def test_a_documented_request_is_accepted(stack: Stack, words: list[str]) -> None:
    answer = ask(stack, words)
    assert answer.status_code in {200, 202}, answer.text
    found = set(answer.json()) - SOMETIMES
    assert any(set(json.loads(block)) - SOMETIMES == found for block in blocks(API, "json"))


def test_the_documented_answers_are_given(stack: Stack, session: Any) -> None:
    shown = [json.loads(block) for block in blocks(API, "json")]
    requests = curls(API)
    sent = ask(stack, requests[0]).json()
    assert [(made["index"], set(made)) for made in sent.pop("event_ids")] == [
        (made["index"], set(made)) for made in shown[0].pop("event_ids")
    ]
    assert sent == shown[0]
    series = next(words for words in requests if "granularity=minute" in words[-1])
    answer = ask(stack, series).json()
    first = next(block for block in shown if "points" in block)
    assert answer["points"][:2] == first["points"]
    assert len(answer["points"]) == 5
    assert answer["complete_through"] == first["complete_through"]
    hours = ask(stack, next(words for words in requests if "granularity=hour" in words[-1])).json()["points"]
    assert [point["views"] for point in hours] == [0] * 12 + [7, 5] + [0] * 10
    days = ask(stack, ["curl", series[-1].replace("granularity=minute", "granularity=day")]).json()["points"]
    assert days == [{"start": "2026-01-01T00:00:00Z", "views": 12, "complete": False, "marked": 4}]
    changes = ask(stack, next(words for words in requests if "/history" in words[-1])).json()
    changes["changes"][0]["at"] = "2026-01-02T00:03:00Z"
    assert changes == next(block for block in shown if "changes" in block)
    zoned = ask(stack, next(words for words in requests if "zone=" in words[-1])).json()
    assert zoned == next(block for block in shown if "+05:45" in json.dumps(block))
    for path, key in (("/v1/top", "span"), ("span=clock_hour", "country"), ("/v1/ledger", "total")):
        answer = ask(stack, next(words for words in requests if path in words[-1])).json()
        assert answer == next(block for block in shown if key in block)
    newest = ask(stack, ["curl", "http://127.0.0.1:8090/v1/top?span=day&country=DE"]).json()
    assert (newest["start"], newest["videos"]) == (None, []), "nothing of the last week is there"
    day = ask(stack, next(words for words in requests if "span=day" in words[-1])).json()
    assert (day["videos"], day["complete_through"]) == ([{"video_id": "A", "views": 12}], "2026-01-01T14:00:00Z")
    channel = ask(stack, next(words for words in requests if "/v1/channels/c-1/series" in words[-1])).json()
    # It comes from Parquet, as old as it is by the real clock. The other hour was not counted by channel.
    assert [point["views"] for point in channel["points"]] == [7, None]


def test_the_documented_reader_of_dead_letters_drops_repeats(stack: Stack) -> None:
    letter = {
        "topic": "view-events",
        "partition": 1,
        "offset": 7,
        "batch_id": None,
        "append_at": NOON,
        "events": [{"index": -1, "reason": "unknown_schema", "payload": b"no avro"}],
    }
    late = {**letter, "events": [{"index": index, "reason": "late", "payload": b"\x00"} for index in (3, 4)]}
    producer = Producer({"bootstrap.servers": stack.endpoints["kafka"]})
    for topic, value in (("view-events-dead-letter", letter), ("view-events-late", late)) * 2:
        producer.produce(topic, registry.encode("RejectedEvents", value))
    assert producer.flush(60) == 0
    (script,) = blocks(OPERATIONS, "python")
    printed = subprocess.run(
        [str(stack.layout.python), "-c", script],
        env=stack.process_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    assert sorted(printed.splitlines()) == [
        "view-events 1 7 -1 unknown_schema b'no avro'",
        "view-events 1 7 3 late b'\\x00'",
        "view-events 1 7 4 late b'\\x00'",
    ]


# What the pages' commands are given beside themselves, in the folder in which they are typed.
FILES = {
    "ids.txt": "viewer-17\n",
    "videos.jsonl": '{"video_id": "Z", "title": "Z", "channel_id": "c", "channel_name": "C", "created_at": 0}\n',
    # What cannot be read is bytes, and is left out.
    "my_fixes.py": "def mend(event, letter):\n    return event if isinstance(event, dict) else None\n",
}


@pytest.fixture
def typed_in(stack: Stack, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of somebody whose `bin/vc` is that of this stack."""
    before = dict(os.environ)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, str(stack.layout.home))
    # Of the history that is there.
    monkeypatch.setenv("VIEW_COUNTS_COUNTING_SHARDS", "2")
    yield tmp_path
    # The command line makes its process a client of the stack.
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("shown", typed_commands(), ids=lambda shown: shown.command)
def test_a_documented_command_is_taken(stack: Stack, typed_in: Path, shown: Shown) -> None:
    command, _, fed = shown.command.partition(" < ")
    given = (typed_in / fed).read_text() if fed else None
    program, words = app, shlex.split(command)[1:]
    if command.startswith("python -m tools.ops "):
        # As on a cluster: it has the settings, and nothing of the local stack.
        program, words = operators, words[2:]
        os.environ.update({name: value for name, value in stack.environment().items() if "VIEW_COUNTS" in name})
        del os.environ[HOME_VARIABLE]
    done = CliRunner().invoke(program, words, input=given)
    # A date of an example may have passed, and what has been judged is not judged again.
    assert done.exit_code == 0 or ("--from" in command and "choose" in done.output), done.output
