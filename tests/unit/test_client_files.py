"""`view-counts send`: every line of a file is sent once, also if the command is killed and typed again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.support.stub_ingest import AWAY, FINE, PARTLY, SILENT, at_random, stub_ingest
from view_counts_client.cli import app
from view_counts_client.clock import Clock
from view_counts_client.events import Event
from view_counts_client.files import BadLine, FileError, FileSource
from view_counts_client.retry import Backoff

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
BACKOFF = Backoff(0.001, 0.001)


def written(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def source(path: Path, bad: list[BadLine] | None = None) -> FileSource:
    made = FileSource(path, Clock(known=True), BACKOFF, 7, ([] if bad is None else bad).append)
    made.correct(0)
    return made


def sent(path: Path, url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["send", str(path), "--to", url, "--batch-events-max", "50", *arguments])


def test_a_file_is_sent_and_a_second_time_not(tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    identity = uuid.uuid4()
    path = written(
        tmp_path / "events.ndjson",
        [
            *({"video_id": f"v-{place}", "country": "DE"} for place in range(200)),
            "",
            {"video_id": "own", "event_id": str(identity), "viewed_at": now_ms},
            {"video_id": "text", "event_id": "evt_1", "viewed_at": "2026-11-29T00:00:00Z"},
            {"video_id": "timed", "viewed_at": now_ms - 5},
        ],
    )
    with stub_ingest(at_random(1, (0.2, AWAY), (0.1, SILENT), (0.1, PARTLY))) as stub:
        first = sent(path, stub.url, "--expire-after-hours", "1000000")
        assert first.exit_code == 0, first.output
        assert "203 events delivered" in first.output
        count = len(stub.keys)
        assert sent(path, stub.url).exit_code == 0
        assert len(stub.keys) == count
    assert len(stub.ids) == 203
    assert stub.differing == []
    assert stub.events[str(identity)]["viewed_at"] == now_ms
    by_video = {event["video_id"]: event for event in stub.events.values()}
    assert by_video["timed"]["viewed_at"] == now_ms - 5
    assert by_video["v-0"]["country"] == "DE"
    assert len({by_video[f"v-{place}"]["viewed_at"] for place in range(200)}) == 1
    assert uuid.UUID(by_video["v-0"]["event_id"]).version == 7


def test_what_was_not_taken_is_named_with_its_line(tmp_path: Path) -> None:
    path = written(
        tmp_path / "events.ndjson",
        [
            {"video_id": "good"},
            "no JSON",
            "[1]",
            {"video_id": "bad"},
            {"video_id": "old", "viewed_at": 1_000_000_000_000},
            {"video_id": "A", "event_id": "text"},
            {"video_id": "A", "viewed_at": "yesterday"},
            {"viewed_at": 1_767_225_600_000},
            "x" * 200_000,
        ],
    )
    with stub_ingest() as stub:
        stub.refuse = lambda event: event["video_id"] == "bad"
        result = sent(path, stub.url)
    assert result.exit_code == 1
    assert "7 events were refused and 1 are too old" in " ".join(result.output.split())
    found = [json.loads(line) for line in (tmp_path / "events.ndjson.refused").read_text().splitlines()]
    assert sorted(one["line"] for one in found) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert {one["line"]: one["reason"] for one in found}[4] == "bad; mend it"
    assert [event["video_id"] for event in stub.events.values() if event["video_id"] != "bad"] == ["good"]


def test_ids_stay_the_same_wherever_it_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path / "events.ndjson", [{"video_id": str(place)} for place in range(60)])
    chance = random.Random(3)
    seen: dict[bytes, tuple[bytes | str, int]] = {}
    settled: list[Event] = []
    while True:
        running = source(path)
        for _ in range(chance.randint(0, 3)):
            if running.due_s(0.0, hurry=True) is None:
                break
            batch = running.take(0.0)
            for event in batch.events:
                assert seen.setdefault(event.fields, (event.event_id, event.viewed_at_ms)) == event[:2]
            again = [event for event in batch.events if chance.random() < 0.3]
            # A batch of which something failed is not settled, and whoever goes on sends all of it.
            running.settled(batch, again, -1.0, 0.0)
            if not again and batch.origin is None:
                settled += batch.events
        is_over = running.due_s(0.0, hurry=True) is None
        running.close()
        if is_over:
            break
    assert len({event_id for event_id, _ in seen.values()}) == len(seen) == 60
    assert len(settled) == len(set(settled))


def test_two_commands_do_not_send_one_file(tmp_path: Path) -> None:
    path = written(tmp_path / "events.ndjson", [{"video_id": "A"}])
    running = source(path)
    with stub_ingest() as stub:
        result = sent(path, stub.url)
    assert result.exit_code == 2
    assert "is in use" in result.output
    running.close()


def test_another_file_of_the_same_name_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path / "events.ndjson", [{"video_id": "A"}])
    source(path).close()
    written(path, [{"video_id": "B"}])
    with pytest.raises(FileError, match="another file"):
        source(path)
    (tmp_path / "events.ndjson.sent").write_text("{")
    with pytest.raises(FileError, match="cannot be read"):
        source(path)


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path / "events.ndjson", [{"video_id": f"v-{place}"} for place in range(4000)])
    with stub_ingest(at_random(4, (0.2, AWAY), (0.1, SILENT), (0.1, PARTLY))) as stub:
        command = [sys.executable, "-m", "view_counts_client.cli", "send", str(path), "--to", stub.url]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")}

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen([*command, "--batch-events-max", "50"], env=environment)

        for enough in (500, 1700):
            running = start()
            while len(stub.ids) < enough and running.poll() is None:
                time.sleep(0.005)
            running.send_signal(signal.SIGKILL)
            assert running.wait(PATIENCE_S) == -signal.SIGKILL
        stub.fault = lambda: FINE
        assert start().wait(PATIENCE_S) == 0
    assert len(stub.ids) == 4000
    assert len({event["video_id"] for event in stub.events.values()}) == 4000
    assert stub.differing == []
