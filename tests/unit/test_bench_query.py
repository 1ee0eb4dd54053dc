"""The pure parts of the benchmark of queries: what is seeded, what is asked, and how it is judged."""

import functools
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pyarrow.fs
import pytest
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchType

from benchmarks import query
from benchmarks.comparing import query_check, query_seeding, service_host
from benchmarks.comparing.query_turns import CASES, schedule
from benchmarks.comparing.service_host import BenchError
from benchmarks.contenders.query_services import FASTAPI, OURS
from benchmarks.inputs import cql_rows, query_requests, seeded_history
from benchmarks.inputs.query_requests import Questions
from benchmarks.inputs.seeded_counts import (
    Shape,
    busy_minutes,
    name_of,
    shape_at,
    total_now,
    total_of,
    views_of,
)
from benchmarks.measuring import query_figures
from udfs.logic.history.register import manifest_name
from udfs.logic.kernels.shards import shard_of
from udfs.stores.history_reader import HistoryFiles
from udfs.stores.history_store import HistoryStore

NOW = datetime(2026, 3, 1, 2, 34, 56, tzinfo=UTC)
SHARDS = 3


@pytest.fixture
def shape() -> Shape:
    """A small one that ends at one o'clock."""
    return Shape(200, 50, 30, 9, 2, datetime(2026, 3, 1, 1, tzinfo=UTC))


def test_what_is_seeded_ends_with_the_last_hour_that_a_rollup_can_have_counted() -> None:
    shape = shape_at(NOW, is_quick=False)
    assert shape.through == datetime(2026, 3, 1, 1, tzinfo=UTC)
    assert (shape.videos, shape.day_videos, shape.hour_videos) == (1_000_000, 20_000, 3_000)
    midnight = shape_at(datetime(2026, 3, 1, 1, 5, tzinfo=UTC), is_quick=False)
    # The last hour is that before midnight, and minutes begin after it.
    assert midnight.through_hour == midnight.first_minute // 60
    assert midnight.last_day == shape.last_day - 1


def test_a_total_now_adds_the_minutes_that_history_has_not_counted(shape: Shape) -> None:
    last = shape.through_hour * 60 + 90
    minutes = range(shape.through_hour * 60, last)
    # The first video has views in each minute.
    assert busy_minutes(0, minutes.start, minutes.stop).tolist() == list(minutes)
    assert total_now(shape, 0, last) == total_of(0) + sum(views_of(0, minute) for minute in minutes)
    assert total_now(shape, shape.hour_videos, last) == total_of(shape.hour_videos)


def test_packed_rows_are_what_the_driver_would_send() -> None:
    query_id = bytes(range(13)) + b"\0\0\0"
    names = cql_rows.texts(np.array([b"video-1", b"video-2"]), 7)
    columns = {
        "video_id": names,
        "kind": cql_rows.text_of_all("view", 2),
        "day": cql_rows.dates(np.array([0, 20_000])),
        "minute": cql_rows.times(np.array([0, 1_770_000_000])),
        "views": cql_rows.numbers(np.array([1, -2])),
    }
    (batch,) = cql_rows.batches(cql_rows.statements(query_id, columns), query_id, rows_max=5, key_values=2)
    values = [
        [b"video-1", b"view", (2**31).to_bytes(4, "big"), bytes(8), (1).to_bytes(8, "big")],
        [
            *(b"video-2", b"view", (2**31 + 20_000).to_bytes(4, "big")),
            *((1_770_000_000_000).to_bytes(8, "big"), (-2).to_bytes(8, "big", signed=True)),
        ],
    ]
    message = BatchMessage(BatchType.UNLOGGED, [(True, query_id, row) for row in values], 1)
    empty = BatchMessage(BatchType.UNLOGGED, [], 1)
    sent, none = (ProtocolHandler.encode_message(one, 0, 5, None, False) for one in (message, empty))
    # After the frame's head, the type and the number.
    assert sent[12:].startswith(batch.body)
    assert len(sent) - len(none) == len(batch.body)
    assert (batch.number, batch.routing_key) == (2, b"\0\7video-1\0\0\4view\0")


@pytest.mark.parametrize(("rows", "rows_max", "expected"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (1, 9, [1]), (0, 2, [])])
def test_no_row_is_lost_between_batches(rows: int, rows_max: int, expected: list[int]) -> None:
    encoded = cql_rows.statements(b"q" * 16, {"n": cql_rows.numbers(np.arange(rows))})
    made = list(cql_rows.batches(encoded, b"q" * 16, rows_max=rows_max, key_values=1))
    assert [one.number for one in made] == expected
    assert b"".join(one.body for one in made) == encoded.tobytes()


def test_tasks_cover_each_video_once() -> None:
    shape = shape_at(NOW, is_quick=False)
    for table, videos in (("totals", shape.videos), ("days", shape.day_videos), ("minutes", shape.hour_videos)):
        spans = [(task.first, task.end) for task in query_seeding.tasks(shape, 0) if task.table == table]
        assert [number for span in spans for number in range(*span)] == list(range(videos))


def test_history_that_was_seeded_is_what_the_query_service_reads(shape: Shape, tmp_path: Path) -> None:
    local = pyarrow.fs.LocalFileSystem()
    store = HistoryStore(local, str(tmp_path))
    token = seeded_history.token_at(NOW)
    for path, hours, _, numbers in seeded_history.files(shape, SHARDS, token):
        store.put(path, seeded_history.table_of_hours(numbers, hours))
    applied = seeded_history.applied_of(shape, token)
    store.put_manifest(applied.manifest, seeded_history.manifest_of(shape, SHARDS, token, 0))
    assert applied.manifest == manifest_name(token, seeded_history.ATTEMPT)

    files = HistoryFiles(local, str(tmp_path))
    manifest = files.manifest(applied.manifest)
    assert manifest.through_hour == applied.through_hour == shape.through_hour
    assert set(manifest.files["hours"]) >= {hour for day in shape.old_days for hour in range(day * 24, day * 24 + 24)}
    for number in range(shape.hour_videos):
        name = name_of(number)
        for day in (shape.old_days.start, shape.last_day):
            path = manifest.files["hours"][day * 24][shard_of(name, SHARDS)]
            hours = seeded_history.hours_of_day(shape, day)
            expected = [(hour * 3_600_000, views_of(number, hour)) for hour in hours]
            assert files.rows(path, "hours", name, "view") == expected


class Seeded:
    """A service that has what was seeded, but for what `wrong` says of a path."""

    def __init__(self, shape: Shape, last_minute: int) -> None:
        self.shape = shape
        self.last_minute = last_minute
        self.wrong: Callable[[str, list[int]], list[int]] = lambda _path, views: views

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if path.endswith(":batchGet"):
            views = self.wrong(path, [self._total(name) for name in json.loads(request.content)["video_ids"]])
            return httpx2.Response(200, json={"videos": [{"kinds": [{"views": one}]} for one in views]})
        name = path.split("/")[3]
        if path.endswith("/views"):
            return httpx2.Response(200, json={"views": self.wrong(path, [self._total(name)])[0]})
        query = dict(request.url.params)
        step_s = {"hour": 3600, "day": 86_400}[query["granularity"]]
        first, end = (
            int(datetime.fromisoformat(query.get(at, "2026-03-02")).replace(tzinfo=UTC).timestamp()) // step_s
            for at in ("from", "to")
        )
        views = self.wrong(path, [views_of(int(name[-8:]), at) for at in range(first, end)])
        return httpx2.Response(200, json={"points": [{"views": one} for one in views]})

    def _total(self, name: str) -> int:
        return total_now(self.shape, int(name[-8:]), self.last_minute)


@pytest.mark.parametrize("has_history", [True, False])
def test_a_service_with_a_wrong_or_a_missing_number_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, *, has_history: bool
) -> None:
    shape = Shape(300, 150, 396, 120, 40, datetime(2026, 3, 1, 1, tzinfo=UTC))
    service = Seeded(shape, shape.through_hour * 60 + 70)
    client = functools.partial(httpx2.Client, transport=httpx2.MockTransport(service))
    monkeypatch.setattr(httpx2, "Client", client)
    check = functools.partial(
        query_check.check, "http://test", shape, service.last_minute, has_history=has_history, has_batches=True
    )
    # Six totals, a batch, and of two videos 30 days of hours, a year of days, and old hours.
    assert check() == 6 + 100 + 2 * (720 + 365 + (720 if has_history else 0))

    service.wrong = lambda path, views: [*views[:-1], views[-1] + 1] if path.endswith("video-00000007/views") else views
    with pytest.raises(BenchError, match="total of video 7: 1 of 1 numbers, 1 of them wrong"):
        check()
    service.wrong = lambda path, views: views[:-1] if path.endswith(":batchGet") else views
    with pytest.raises(BenchError, match="totals of a batch: 99 of 100 numbers"):
        check()


def test_zipf_asks_for_each_video_in_proportion_to_its_rank() -> None:
    random = np.random.default_rng(1)
    counts = np.bincount(query_requests.zipf(random, 100, 200_000), minlength=100)
    assert len(counts) == 100
    harmonic = sum(1 / rank for rank in range(1, 101))
    for rank in (1, 2, 10):
        assert counts[rank - 1] / 200_000 == pytest.approx(1 / rank / harmonic, rel=0.05)
    (chosen,) = query_requests.zipf_sets(random, 100, 60, 1)
    assert len(set(chosen.tolist())) == 60


def test_cold_questions_are_asked_once_and_end(shape: Shape) -> None:
    questions = Questions(shape, seed=1)
    asked = [*questions.cold_totals(20), *questions.cold_totals(30)]
    assert len(set(asked)) == 50
    hot = set(questions.hot_totals(500))
    assert not hot & set(asked)
    with pytest.raises(ValueError, match="101 videos are asked for once, and only 100 are left"):
        questions.cold_totals(101)


def test_there_are_cold_questions_for_the_longest_run() -> None:
    for is_quick, turns, seconds in ((True, 1, query.QUICK_S), (False, query.TURNS_MAX, query.SECONDS_MAX)):
        questions = Questions(shape_at(NOW, is_quick=is_quick), seed=1)
        asked: dict[str, list[bytes]] = defaultdict(list)
        for case in [case for case in CASES if not case.is_warmed and not case.is_restarted] * turns:
            asked[case.name] += case.questions(questions, case.number(seconds))
        assert {len(set(of)) - len(of) for of in asked.values()} == {0}


def test_requests_have_the_form_that_the_load_tool_takes(shape: Shape) -> None:
    questions = Questions(shape, seed=1)
    assert questions.hours(1)[0].startswith(b"GET /v1/videos/video-0000000")
    assert b"series?granularity=hour&from=2026-01-30T01:00:00Z\n" in questions.hours(1)[0]
    line, _, body = questions.hot_batches(1)[0].partition(b"\n")
    assert line == b"POST /v1/videos:batchGet"
    assert body.count(b"video-") == shape.hour_videos


def test_services_take_turns_and_only_those_with_history_are_asked_for_it() -> None:
    old = next(case for case in CASES if case.needs_history)
    other = next(case for case in CASES if not case.needs_history)
    found = [(turn, case.name, one.name) for turn, case, one in schedule([OURS, FASTAPI], [old, other], 2)]
    assert found == [
        (0, old.name, "ours"),
        (0, other.name, "ours"),
        (0, other.name, "fastapi"),
        (1, old.name, "ours"),
        (1, other.name, "fastapi"),
        (1, other.name, "ours"),
    ]


def test_a_process_that_runs_is_held_to_its_cores_with_all_its_threads() -> None:
    core = min(os.sched_getaffinity(0))
    code = "import threading; threading.Thread(target=input).start(); print(flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        running = psutil.Process(process.pid)
        service_host.pin(running, set())
        service_host.pin(running, {core})
        held = [os.sched_getaffinity(thread.id) for thread in running.threads()]
        process.stdin.write(b"\n\n")
        process.stdin.close()
    assert held == [{core}, {core}]


def told(**changes: Any) -> dict[str, Any]:
    """What the load tool prints."""
    return {
        "statuses": {"200": 100}, "broken": 0, "seconds": 2.0, "answer_bytes": 5000, "p50_ms": 1.0, "p99_ms": 4.0,
        "max_ms": 9.0, "cpu_share": 0.1, "throttled_s": 0.0, "not_sent": 0, **changes,
    }  # fmt: skip


def test_only_good_answers_count_and_each_answer_costs() -> None:
    turn = query_figures.turn(told(statuses={"200": 90, "503": 10}), 0.05, 0.01)
    assert (turn["answers_per_s"], turn["cpu_us"], turn["answer_bytes"]) == (45.0, 500.0, 50)
    nothing = query_figures.turn(told(statuses={"503": 3}, p99_ms=0), 0.05, 0.01)
    assert (nothing["answers_per_s"], nothing["p99_ms"]) == (0.0, None)
    assert query_figures.turn(told(statuses={}, answer_bytes=0), 0.05, 0.01)["cpu_us"] is None


def test_targets_are_judged_by_ours_alone() -> None:
    def row(service: str, case: str, *turns: dict[str, Any]) -> dict[str, Any]:
        return {"service": service, "case": case, "title": case, **query_figures.row(turns)}

    good = query_figures.turn(told(), 0.05, 0.01)
    refused = query_figures.turn(told(statuses={"200": 99, "503": 1}), 0.05, 0.01)
    slow = query_figures.turn(told(statuses={"200": 20}, p99_ms=80.0), 0.05, 0.01)
    rows = [
        row("ours", "a", good), row("before", "a", slow), row("ours", "b", refused), row("ours", "c", good),
        row("before", "c", slow), row("fastapi", "c"),
    ]  # fmt: skip
    targets = {"a": {"p99_ms": 5.0}, "b": {"p99_ms": 5.0}, "c": {"per_s": 60.0, "times_others": 5.0}}
    found = query_figures.verdicts(rows, targets, "ours")
    assert [(one["value"], one["is_reached"]) for one in found] == [
        (4.0, True),
        (4.0, False),
        (50.0, False),
        (5.0, True),
    ]
    assert query_figures.verdict_line(found[3]) == (
        "c: answers/s beside before (times its): 5; target at least 5: reached"
    )
    # A question that a service cannot answer has an empty row.
    assert query_figures.row([])["p99_ms"] is None
