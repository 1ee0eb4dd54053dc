"""The spool: what `view` has returned for is counted, whatever becomes of the process."""

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.quick_client import QUICK, quick
from tests.support.stub_ingest import AWAY, FINE, PARTLY, SILENT, Stub, at_random, stub_ingest
from view_counts_client import Client, QueueFullError, SpoolError

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


def views(client: Client, count: int, video: str = "A") -> None:
    for _ in range(count):
        client.view(video)


def test_what_is_spooled_arrives_once(tmp_path: Path) -> None:
    with stub_ingest() as stub, Client(stub.url, spool=tmp_path, options=QUICK) as client:
        views(client, 1000)
        assert not client.flush(PATIENCE_S)
    assert set(stub.ids.values()) == {1}
    assert len(stub.ids) == 1000


def test_what_is_spooled_arrives_though_half_of_the_requests_fail(tmp_path: Path) -> None:
    faults = at_random(11, (0.3, AWAY), (0.1, SILENT), (0.2, PARTLY))
    with stub_ingest(faults) as stub, Client(stub.url, spool=tmp_path, options=QUICK) as client:
        views(client, 2000)
        assert not client.flush(PATIENCE_S)
        assert client.counts.delivered == 2000
    assert len(stub.ids) == 2000
    assert stub.differing == []


@pytest.mark.parametrize("spool_when", ["viewed", "full"])
def test_what_a_closed_client_could_not_send_is_sent_by_the_next(tmp_path: Path, spool_when: Any) -> None:
    options = quick(spool_when=spool_when, exit_flush_s=0)
    with stub_ingest(lambda: AWAY) as stub:
        client = Client(stub.url, spool=tmp_path, options=options)
        views(client, 300)
        client.close()
        stub.fault = lambda: FINE
        assert stub.ids == {}
        with Client(stub.url, spool=tmp_path, options=options) as client:
            assert not client.flush(PATIENCE_S)
    assert len(stub.ids) == 300
    assert stub.differing == []


def test_what_was_acknowledged_is_not_sent_for_ever(tmp_path: Path) -> None:
    with stub_ingest() as stub:
        for _ in range(3):
            with Client(stub.url, spool=tmp_path, options=QUICK) as client:
                views(client, 100)
                assert not client.flush(PATIENCE_S)
    assert set(stub.ids.values()) == {1}
    assert len(stub.ids) == 300
    # Nothing is left that others would look through.
    assert not list(tmp_path.rglob("*.log"))


def test_a_queue_that_is_full_spools(tmp_path: Path) -> None:
    # Whoever waited for each of them would not end before the test's time is over.
    options = quick(spool_when="full", queue_events_max=10, block_max_s=10)
    with stub_ingest(lambda: AWAY) as stub, Client(stub.url, spool=tmp_path, options=options) as client:
        views(client, 200)
        assert client.remaining().events == 200
        stub.fault = lambda: FINE
        assert not client.flush(PATIENCE_S)
    assert len(stub.ids) == 200


def test_a_spool_that_is_full_refuses(tmp_path: Path) -> None:
    options = quick(spool_bytes_max=4000, block_max_s=0)
    with stub_ingest(lambda: AWAY) as stub, Client(stub.url, spool=tmp_path, options=options) as client:
        with pytest.raises(QueueFullError, match="spool_bytes_max=4000"):
            views(client, 200)
        stub.fault = lambda: FINE
        assert not client.flush(PATIENCE_S)
        assert len(stub.ids) == client.counts.viewed > 0
        views(client, 1)


@pytest.mark.parametrize("ahead_ms", [-7_200_000, 7_200_000])
def test_times_are_right_in_the_spool_before_the_first_event_leaves(tmp_path: Path, ahead_ms: int) -> None:
    with stub_ingest(lambda: SILENT) as stub:
        stub.clock_ahead_ms = ahead_ms
        client = Client(stub.url, spool=tmp_path, options=quick(exit_flush_s=0))
        views(client, 5)
        while not stub.ids:
            time.sleep(0.01)
        views(client, 5)
        client.close()
        # The next process finds another clock, which changes no event that may have left.
        stub.clock_ahead_ms = 0
        stub.fault = lambda: FINE
        with Client(stub.url, spool=tmp_path, options=QUICK) as client:
            assert not client.flush(PATIENCE_S)
    right_ms = time.time_ns() // 1_000_000 + ahead_ms
    assert len(stub.events) == 10
    assert all(abs(event["viewed_at"] - right_ms) < 60_000 for event in stub.events.values())
    assert stub.differing == []


def test_two_clients_never_share_a_slot(tmp_path: Path) -> None:
    with (
        stub_ingest() as stub,
        Client(stub.url, spool=tmp_path, options=QUICK) as one,
        Client(stub.url, spool=tmp_path, options=QUICK) as two,
    ):
        views(one, 50, "one")
        views(two, 50, "two")
        assert not one.flush(PATIENCE_S)
        assert not two.flush(PATIENCE_S)
    assert set(stub.ids.values()) == {1}
    assert len(stub.ids) == 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slot-0", "slot-1"]


def test_slots_that_nobody_holds_are_adopted(tmp_path: Path) -> None:
    options = quick(exit_flush_s=0)
    with stub_ingest(lambda: AWAY) as stub:
        clients = [Client(stub.url, spool=tmp_path, options=options) for _ in range(3)]
        for client in clients:
            views(client, 20)
        for client in clients:
            client.close()
        stub.fault = lambda: FINE
        with Client(stub.url, spool=tmp_path, options=QUICK) as client:
            assert not client.flush(PATIENCE_S)
    assert len(stub.ids) == 60
    assert not list(tmp_path.rglob("*.clock-new"))


def test_a_folder_that_takes_nothing_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SpoolError, match=r"spool=.*file"):
        Client("http://127.0.0.1:1", spool=file, options=QUICK)


def test_a_full_disk_takes_no_half_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    room = [10_000]

    def full(fd: int, data: bytes) -> int:
        if len(data) > room[0]:
            if room[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            data = data[: room[0]]
        room[0] -= len(data)
        return write(fd, data)

    with stub_ingest(lambda: AWAY) as stub, Client(stub.url, spool=tmp_path, options=quick(exit_flush_s=0)) as client:
        with monkeypatch.context() as patched:
            patched.setattr("view_counts_client.spool.log.os.write", full)
            with pytest.raises(SpoolError, match="No space left"):
                views(client, 1000)
        taken = client.counts.viewed
        assert 0 < taken < 1000
        views(client, 10)
        stub.fault = lambda: FINE
        assert not client.flush(PATIENCE_S)
        assert len(stub.ids) == taken + 10


PROGRAM = """
import sys
from view_counts_client import Client, Options
options = Options(batch_events_max=20, batch_age_max_s=0.005, backoff_first_s=0.002, backoff_most_s=0.02,
                  breaker_first_s=0.005, breaker_most_s=0.02, retries_per_s=1000, exit_flush_s=60)
client = Client(sys.argv[1], spool=sys.argv[2], options=options)
for place in range(int(sys.argv[4]), int(sys.argv[5])):
    client.view(f"{sys.argv[3]}-{place}")
    # Only now does the caller know that it is taken.
    print(f"{sys.argv[3]}-{place}", flush=True)
"""


def program(stub: Stub, spool: Path, name: str, first: int, end: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), stub.url, str(spool), name, str(first), str(end)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_what_was_taken_is_counted_though_the_process_is_killed(tmp_path: Path) -> None:
    chance = random.Random(5)
    taken: list[str] = []
    with stub_ingest(at_random(9, (0.3, AWAY), (0.1, SILENT), (0.1, PARTLY))) as stub:
        for turn in range(3):
            running = program(stub, tmp_path, f"turn-{turn}", 0, 100_000)
            assert running.stdout is not None
            enough = len(taken) + chance.randint(50, 600)
            for line in running.stdout:
                taken.append(line.strip())
                if len(taken) == enough:
                    running.send_signal(signal.SIGKILL)
            assert running.wait(PATIENCE_S) == -signal.SIGKILL
        last = program(stub, tmp_path, "last", 0, 10)
        assert last.wait(PATIENCE_S) == 0
        seen = [event["video_id"] for event in stub.events.values()]
    assert len(seen) == len(set(seen))
    assert set(taken) - set(seen) == set()
    # At most the event that each killed process had just appended was not heard of.
    assert len(set(seen) - set(taken)) <= 3 + 10
    assert stub.differing == []


FORKING = """
import os, signal, sys, time
from view_counts_client import Client, Options
options = Options(batch_age_max_s=0.005, exit_flush_s=30)
client = Client(sys.argv[1], spool=sys.argv[2], options=options)
for place in range(50):
    client.view(f"parent-{place}")
for child in range(3):
    if os.fork() == 0:
        for place in range(50):
            client.view(f"child-{child}-{place}")
        # As if it ran out of memory.
        os.kill(os.getpid(), signal.SIGKILL)
for child in range(3):
    os.wait()
for place in range(50, 100):
    client.view(f"parent-{place}")
client.close()
"""


@pytest.mark.slow
def test_children_of_fork_have_slots_of_their_own_which_others_adopt(tmp_path: Path) -> None:
    with stub_ingest() as stub:
        forking = subprocess.Popen(
            [sys.executable, "-c", FORKING, stub.url, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")},
        )
        assert forking.wait(PATIENCE_S) == 0
        with Client(stub.url, spool=tmp_path, options=QUICK) as client:
            assert not client.flush(PATIENCE_S)
        seen = sorted(event["video_id"] for event in stub.events.values())
    wanted = [f"child-{child}-{place}" for child in range(3) for place in range(50)]
    assert seen == sorted([*wanted, *(f"parent-{place}" for place in range(100))])
    assert stub.differing == []
