"""The Python client over real connections to a stub that fails: what was viewed arrives, and counts once."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.support.quick_client import QUICK, quick
from tests.support.stub_ingest import AWAY, FINE, LIMITED, PARTLY, SILENT, Fault, Stub, at_random, stub_ingest
from view_counts_client import (
    AsyncClient,
    Client,
    ClosedError,
    Delivered,
    Expired,
    Happening,
    QueueFullError,
    Refused,
    State,
)

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
HOUR_MS = 3_600_000


def views(client: Client, count: int) -> None:
    for _ in range(count):
        client.view("A")


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "identity"])
def test_all_arrives_and_nothing_changes_though_half_of_the_requests_fail(encoding: str) -> None:
    faults = at_random(7, (0.3, AWAY), (0.05, SILENT), (0.05, LIMITED), (0.1, PARTLY))
    with stub_ingest(faults) as stub, Client(stub.url, options=quick(encoding=encoding)) as client:
        for place in range(3000):
            client.view(f"video-{place % 7}", viewer_id=f"viewer-{place}", country="DE")
        assert not client.flush(PATIENCE_S)
        counts = client.counts
    assert (counts.viewed, counts.delivered, counts.refused, counts.expired) == (3000, 3000, 0, 0)
    assert len(stub.ids) == 3000
    assert stub.differing == []
    assert {event["viewer_id"] for event in stub.events.values()} == {f"viewer-{place}" for place in range(3000)}


def test_events_without_faults_are_sent_once() -> None:
    with stub_ingest() as stub, Client(stub.url, options=QUICK) as client:
        for _ in range(500):
            client.view("A")
        client.flush(PATIENCE_S)
    assert set(stub.ids.values()) == {1}
    assert len(stub.ids) == 500


def test_only_what_failed_is_sent_again() -> None:
    answers = iter([PARTLY])
    with stub_ingest(lambda: next(answers, FINE)) as stub, Client(stub.url, options=QUICK) as client:
        for _ in range(40):
            client.view("A")
        assert not client.flush(PATIENCE_S)
        assert client.counts.resent == 20
    assert set(stub.ids.values()) == {1}
    assert len(stub.ids) == 40


def test_a_body_keeps_its_key_when_it_is_sent_again() -> None:
    answers = iter([AWAY, SILENT, LIMITED])
    with stub_ingest(lambda: next(answers, FINE)) as stub, Client(stub.url, options=QUICK) as client:
        client.view("A")
        client.flush(PATIENCE_S)
        client.view("A")
        client.flush(PATIENCE_S)
    assert len(stub.keys) == 5
    assert len(set(stub.keys[:4])) == 1
    assert stub.keys[4] != stub.keys[0]
    assert UUID(stub.keys[0]).version == 7


def test_the_key_of_the_caller_and_the_form_of_the_body_are_named() -> None:
    with stub_ingest() as stub, Client(stub.url + "/", key="vc_write_0", options=QUICK) as client:
        client.view("A")
        client.flush(PATIENCE_S)
    assert stub.headers[0]["authorization"] == "Bearer vc_write_0"
    assert stub.headers[0]["content-type"] == "application/x-ndjson"
    assert stub.paths == ["/v1/time", "/v1/events"]


def test_refused_events_are_named_and_not_sent_again() -> None:
    heard: list[Happening] = []
    with stub_ingest() as stub, Client(stub.url, options=QUICK, listener=heard.append) as client:
        stub.refuse = lambda event: event["video_id"] == "bad"
        client.view("good")
        client.view("bad")
        assert not client.flush(PATIENCE_S)
    refused = [one for one in heard if isinstance(one, Refused)]
    assert [refusal.remedy for one in refused for _, refusal in one.events] == ["mend it"]
    assert sum(one.events for one in heard if isinstance(one, Delivered)) == 1
    assert len(stub.keys) == 1


@pytest.mark.parametrize("ahead_ms", [-2 * HOUR_MS, 2 * HOUR_MS])
def test_a_wrong_clock_is_set_right_before_the_first_event_leaves(ahead_ms: int) -> None:
    with stub_ingest() as stub, Client(stub.url, options=QUICK) as client:
        stub.clock_ahead_ms = ahead_ms
        client.view("A")
        client.flush(PATIENCE_S)
        client.view("A")
        client.flush(PATIENCE_S)
    assert stub.paths.count("/v1/time") == 1
    right_ms = time.time_ns() // 1_000_000 + ahead_ms
    times = [event["viewed_at"] for event in stub.events.values()]
    assert len(times) == 2
    assert all(abs(at - right_ms) < 60_000 for at in times)


def test_what_is_too_old_is_reported_and_not_sent() -> None:
    heard: list[Happening] = []
    with stub_ingest() as stub, Client(stub.url, options=QUICK, listener=heard.append) as client:
        client.view("old", viewed_at=datetime.now(UTC) - timedelta(hours=145))
        client.view("new", viewed_at=datetime.now(UTC) - timedelta(hours=143))
        client.flush(PATIENCE_S)
        assert (client.counts.expired, client.counts.delivered) == (1, 1)
    assert [event["video_id"] for event in stub.events.values()] == ["new"]
    assert [b"old" in event.fields for one in heard if isinstance(one, Expired) for event in one.events] == [True]


def test_own_ids_and_times_are_sent_as_they_are() -> None:
    identity = uuid4()
    with stub_ingest() as stub, Client(stub.url, options=QUICK) as client:
        stub.clock_ahead_ms = 2 * HOUR_MS
        at_ms = time.time_ns() // 1_000_000
        client.view("A", event_id=identity, viewed_at=at_ms)
        client.view("A", event_id="evt_1", viewed_at=at_ms)
        client.flush(PATIENCE_S)
    assert {one: event["viewed_at"] for one, event in stub.events.items()} == {str(identity): at_ms, "evt_1": at_ms}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"video_id": ""}, "video_id"),
        ({"video_id": "é" * 33}, "video_id"),
        ({"video_id": "A", "viewer_id": "x" * 65}, "viewer_id"),
        ({"video_id": "A", "kind": ""}, "kind"),
        ({"video_id": "A", "country": "\ud800"}, "country"),
        ({"video_id": "A", "event_id": "text"}, "viewed_at"),
        ({"video_id": "A", "viewed_at": 1_700_000_000}, "viewed_at"),
        ({"video_id": "A", "viewed_at": 0}, "viewed_at"),
        ({"video_id": "A", "viewed_at": datetime(2026, 1, 1)}, "viewed_at"),
    ],
)
def test_what_could_never_count_is_refused_at_the_call(arguments: dict[str, object], named: str) -> None:
    client = Client("http://127.0.0.1:1", options=QUICK)
    with pytest.raises(ValueError, match=named):
        client.view(**arguments)  # type: ignore[arg-type]
    assert not client.remaining()


def test_a_full_queue_blocks_and_then_refuses() -> None:
    with stub_ingest(lambda: AWAY) as stub:
        client = Client(stub.url, options=quick(queue_events_max=10, block_max_s=0.01, batch_events_max=1))
        with pytest.raises(QueueFullError, match="queue_events_max=10"):
            views(client, 20)
        # Those that wait, and perhaps one that is being sent.
        assert client.remaining().events in {10, 11}
        stub.fault = lambda: FINE
        assert not client.close(PATIENCE_S)
        assert len(stub.ids) == client.counts.viewed == client.counts.delivered


def test_a_blocked_view_goes_on_when_there_is_room() -> None:
    with stub_ingest(lambda: AWAY) as stub:
        options = quick(queue_events_max=10, block_max_s=PATIENCE_S, batch_events_max=5)
        with Client(stub.url, options=options) as client:
            thread = threading.Thread(target=views, args=(client, 200))
            thread.start()
            stub.fault = lambda: FINE
            thread.join(PATIENCE_S)
            assert not client.flush(PATIENCE_S)
    assert len(stub.ids) == 200


def test_dropping_is_asked_for_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with stub_ingest(lambda: AWAY) as stub, caplog.at_level(logging.WARNING, "view_counts_client"):
        client = Client(stub.url, options=quick(queue_events_max=5, block_max_s=0, drop_when_full=True))
        for _ in range(105):
            client.view("A")
        counts = client.counts
        assert counts.viewed + counts.dropped == 105
        assert counts.dropped > 0
        stub.fault = lambda: FINE
        assert not client.close(PATIENCE_S)
    assert len(stub.ids) == counts.viewed
    assert any("events are dropped" in record.message for record in caplog.records)


def test_a_flush_says_what_remains() -> None:
    with stub_ingest(lambda: AWAY) as stub:
        client = Client(stub.url, options=QUICK)
        for _ in range(120):
            client.view("A")
        remaining = client.flush(0.05)
        assert remaining.events == 120
        assert client.close(0.0).events == 120
        with pytest.raises(ClosedError):
            client.view("A")


def test_a_dead_endpoint_is_left_out() -> None:
    options = quick(breaker_failures=2, breaker_first_s=600, breaker_most_s=600)
    with (
        stub_ingest() as well,
        stub_ingest(lambda: AWAY) as ill,
        Client([ill.url, well.url], options=options) as client,
    ):
        for _ in range(20):
            client.view("A")
            assert not client.flush(PATIENCE_S)
        assert client.endpoints() == {ill.url: State.OPEN, well.url: State.CLOSED}
        assert len(ill.keys) == 2
        assert len(well.ids) == 20


def test_an_endpoint_that_works_again_is_taken_back() -> None:
    options = quick(breaker_failures=1)
    with (
        stub_ingest() as well,
        stub_ingest(lambda: AWAY) as ill,
        Client([ill.url, well.url], options=options) as client,
    ):
        while not ill.keys:
            client.view("A")
            assert not client.flush(PATIENCE_S)
        ill.fault = lambda: FINE
        while not ill.ids:
            client.view("A")
            assert not client.flush(PATIENCE_S)
        assert client.endpoints() == {ill.url: State.CLOSED, well.url: State.CLOSED}
        assert len(well.ids.keys() | ill.ids.keys()) == client.counts.viewed


def test_an_endpoint_where_nobody_listens_is_no_loss() -> None:
    with stub_ingest() as stub, Client(["http://127.0.0.1:1", stub.url], options=QUICK) as client:
        for _ in range(10):
            client.view("A")
            assert not client.flush(PATIENCE_S)
    assert len(stub.ids) == 10


def test_a_wrong_key_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with stub_ingest(lambda: Fault(401, 0.0, retry_after_s=0)) as stub, Client(stub.url, options=QUICK) as client:
        client.view("A")
        with client.hurrying():
            while len(stub.keys) < 2:
                time.sleep(0.001)
        assert client.remaining().events == 1
        stub.fault = lambda: FINE
        assert not client.flush(PATIENCE_S)
    assert "refuses events" in caplog.text
    assert len(stub.ids) == 1


def test_a_body_that_is_too_large_is_sent_in_parts() -> None:
    with stub_ingest() as stub, Client(stub.url, options=QUICK) as client:
        sizes: list[int] = []
        take = stub.answer

        def answer(events: list[dict[str, object]], fault: Fault) -> tuple[int, dict[str, object]]:
            sizes.append(len(events))
            return (413, {"error": "too large"}) if len(events) > 10 else take(events, fault)

        stub.answer = answer  # type: ignore[method-assign]
        for _ in range(40):
            client.view("A")
        assert not client.flush(PATIENCE_S)
    assert max(sizes) > 10
    assert len(stub.ids) == 40


async def _views(stub: Stub, count: int) -> None:
    async with AsyncClient(stub.url, options=quick(queue_events_max=100)) as client:
        for _ in range(count):
            await client.view("A")
        assert not await client.flush(PATIENCE_S)
        assert client.counts.delivered == count


def test_asyncio_sends_the_same() -> None:
    with stub_ingest(at_random(3, (0.3, AWAY), (0.1, SILENT), (0.1, PARTLY))) as stub:
        asyncio.run(_views(stub, 1000))
    assert len(stub.ids) == 1000
    assert stub.differing == []


def program(text: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a program of its own that uses the client."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_the_end_of_the_process_flushes() -> None:
    with stub_ingest(at_random(5, (0.3, AWAY))) as stub:
        ended = program(
            """
            import sys
            from view_counts_client import Client, Options
            client = Client(sys.argv[1], options=Options(batch_age_max_s=60, exit_flush_s=30, backoff_first_s=0.01))
            for _ in range(100):
                client.view("A")
            """,
            stub.url,
        )
        assert ended.wait(PATIENCE_S) == 0
        assert len(stub.ids) == 100


@pytest.mark.slow
def test_sigterm_flushes_and_goes_on_to_who_handled_it_before() -> None:
    with stub_ingest() as stub:
        ended = program(
            """
            import signal, sys, time
            from view_counts_client import Client, Options

            def former(number, frame):
                print("former", client.counts.delivered, flush=True)
                sys.exit(7)

            signal.signal(signal.SIGTERM, former)
            client = Client(sys.argv[1], options=Options(batch_age_max_s=60, exit_flush_s=30))
            for _ in range(100):
                client.view("A")
            print("ready", flush=True)
            while True:
                time.sleep(0.05)
            """,
            stub.url,
        )
        assert ended.stdout is not None
        assert ended.stdout.readline() == "ready\n"
        ended.send_signal(signal.SIGTERM)
        assert ended.stdout.readline() == "former 100\n"
        assert ended.wait(PATIENCE_S) == 7
        assert len(stub.ids) == 100


@pytest.mark.slow
def test_sigterm_without_a_handler_still_ends_the_process() -> None:
    with stub_ingest() as stub:
        ended = program(
            """
            import sys, time
            from view_counts_client import Client, Options
            client = Client(sys.argv[1], options=Options(batch_age_max_s=60, exit_flush_s=30))
            client.view("A")
            print("ready", flush=True)
            while True:
                time.sleep(0.05)
            """,
            stub.url,
        )
        assert ended.stdout is not None
        assert ended.stdout.readline() == "ready\n"
        ended.send_signal(signal.SIGTERM)
        assert ended.wait(PATIENCE_S) == -signal.SIGTERM
        assert len(stub.ids) == 1


@pytest.mark.slow
def test_children_of_fork_have_queue_and_thread_of_their_own() -> None:
    with stub_ingest() as stub:
        ended = program(
            """
            import multiprocessing, os, sys
            from view_counts_client import Client, Options
            client = Client(sys.argv[1], options=Options(batch_age_max_s=60, exit_flush_s=30))

            def views(name):
                for _ in range(50):
                    client.view(name)

            views("parent")
            # As gunicorn does with preload: the child ends by the usual way.
            if os.fork() == 0:
                views("fork")
                sys.exit(0)
            os.wait()
            context = multiprocessing.get_context("fork")
            children = [context.Process(target=views, args=("process",)) for _ in range(2)]
            for child in children:
                child.start()
            for child in children:
                child.join()
            """,
            stub.url,
        )
        assert ended.wait(PATIENCE_S) == 0
        seen = [event["video_id"] for event in stub.events.values()]
        assert {name: seen.count(name) for name in set(seen)} == {"parent": 50, "fork": 50, "process": 100}
        assert set(stub.ids.values()) == {1}


def test_a_client_for_tests_records_and_asserts() -> None:
    client = Client.testing()
    client.assert_nothing_viewed()
    client.view("A", viewer_id="v")
    client.view("A", kind="like")
    client.assert_viewed("A", times=2)
    client.assert_viewed("A", kind="like")
    assert client.seen(viewer_id="v")[0].kind == "view"
    with pytest.raises(AssertionError, match="viewed 0 times, not 1"):
        client.assert_viewed("B")
    with pytest.raises(ValueError, match="video_id"):
        client.view("")
