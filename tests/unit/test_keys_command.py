"""The commands of keys, on real processes: what they show, what they refuse, and that all processes hear of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner, Result

from connectors.key_file import read_keys
from tests.support.waiting import eventually
from tools.keys import ADMIN_KEY_VARIABLE
from tools.ops.app import app
from tools.stack.layout import repository
from tools.stack.machine.ports import HOST, free_ports


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "keys.json"
    monkeypatch.setenv("VIEW_COUNTS_ACCESS_KEYS_FILE", str(found))
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def add(*arguments: str) -> str:
    found = run("add", *arguments)
    assert found.exit_code == 0, found.output
    return found.output.strip()


def test_a_publishable_key_for_all_must_be_meant(path: Path) -> None:
    once = run("add", "--scope", "pubwrite", "--kind", "view", "--origin", "https://a.example", "--video-prefix", "*")
    assert (once.exit_code, "say it twice" in once.output) == (1, True)
    nothing = run("add", "--scope", "pubwrite", "--kind", "view", "--origin", "https://a.example")
    assert (nothing.exit_code, "video_id_prefix" in nothing.output) == (1, True)
    assert not path.exists()
    twice = ("--video-prefix", "*", "--video-prefix", "*")
    add("--scope", "pubwrite", "--kind", "view", "--origin", "https://a.example", *twice)
    assert [key.video_id_prefix for key in read_keys(path)] == ["*"]


@pytest.mark.parametrize(
    ("option", "value"), [("--names-per-day-max", "0"), ("--events-per-s", "-1"), ("--project", "A B")]
)
def test_a_key_that_no_process_could_read_is_not_written(path: Path, option: str, value: str) -> None:
    add("--scope", "write")
    content = path.read_bytes()
    refused = run("add", "--scope", "write", option, value)
    assert (refused.exit_code, refused.output.count("vc_write_")) == (1, 0)
    assert option.strip("-").replace("-", "_") in refused.output
    assert path.read_bytes() == content


def test_a_secret_key_may_be_held_to_so_many_names(path: Path) -> None:
    add("--scope", "write", "--names-per-day-max", "20000")
    assert [key.names_per_day_max for key in read_keys(path)] == [20_000]
    assert "names_per_day_max=20000" in run("list").output


def test_the_list_shows_no_secret(path: Path) -> None:
    text = add("--scope", "write", "--project", "acme", "--expires-at", "2030-01-01T00:00:00Z")
    _, _, key_id, secret = text.split("_")
    shown = run("list").output
    assert (key_id in shown, "acme" in shown, "2030-01-01T00:00:00Z" in shown, "valid" in shown) == (True,) * 4
    (row,) = json.loads(run("list", "--json").output)
    assert (row["id"], row["scope"], row["state"]) == (key_id, "write", "valid")
    for output in (shown, run("list", "--json").output, path.read_text()):
        assert secret not in output


def test_an_unknown_key_is_named(path: Path) -> None:
    add("--scope", "write")
    found = run("withdraw", "nobody")
    assert (found.exit_code, "nobody" in found.output) == (1, True)


@pytest.fixture
def processes(path: Path, tmp_path: Path) -> Iterator[dict[int, int]]:
    """Two processes of ingest without a Kafka: private port by public port."""
    add("--scope", "read")
    running, logs, found = [], [], {}
    for _ in range(2):
        public, private, kafka = free_ports(("public", "private", "kafka")).values()
        environment = {
            "VIEW_COUNTS_ACCESS_MODE": "keys",
            "VIEW_COUNTS_INGEST_PORT": str(public),
            "VIEW_COUNTS_INGEST_PRIVATE_PORT": str(private),
            "VIEW_COUNTS_INGEST_LEAVING_S": "0",
            "VIEW_COUNTS_INGEST_DELIVERY_TIMEOUT_MS": "1000",
            "VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{kafka}",
        }
        command = [sys.executable, "-m", "services.ingest"]
        log = (tmp_path / f"{public}.log").open("wb")
        logs.append(log)
        environment = {**os.environ, **environment}
        running.append(subprocess.Popen(command, cwd=repository(), env=environment, stdout=log, stderr=log))
        found[public] = private
    try:
        assert eventually(lambda: all(_status(port, "none") for port in found))
        yield found
    finally:
        for process in running:
            process.kill()
            process.wait()
        for log in logs:
            log.close()


def _status(port: int, text: str) -> int:
    headers = {"Authorization": f"Bearer {text}", "Content-Type": "application/json"}
    try:
        url = f"http://{HOST}:{port}/v1/events"
        return httpx2.post(url, content=b"{}", headers=headers, trust_env=False).status_code
    except httpx2.TransportError:
        return 0


def test_all_processes_hear_of_a_withdrawal(
    processes: dict[int, int], path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, admin = add("--scope", "write"), add("--scope", "admin")
    key_id = text.split("_")[2]
    # 503: they know the key, and there is no Kafka.
    assert eventually(lambda: [_status(port, text) for port in processes] == [503, 503])
    tell = [argument for port in processes.values() for argument in ("--tell", f"{HOST}:{port}")]
    monkeypatch.setenv(ADMIN_KEY_VARIABLE, admin)
    # The processes go on with the file that they have. Only what they are told can reach them.
    kept = path.read_bytes()
    found = run("withdraw", key_id, *tell)
    assert found.exit_code == 0, found.output
    assert [_status(port, text) for port in processes] == [401, 401]
    assert {key.id: key.withdrawn_at is not None for key in read_keys(path)}[key_id]
    path.write_bytes(kept)
    assert [_status(port, text) for port in processes] == [401, 401]
    logs = [log.read_text() for log in tmp_path.glob("*.log")]
    assert len(logs) == 2
    for log in logs:
        # What was told is there, by the public id; the keys themselves are not.
        assert key_id in log
        assert not any(secret.split("_")[3] in log for secret in (text, admin))


def test_a_process_that_cannot_be_told_is_named(path: Path) -> None:
    text = add("--scope", "write")
    (port,) = free_ports(("nobody",)).values()
    found = run("divert", text.split("_")[2], "--tell", f"{HOST}:{port}")
    assert (found.exit_code, f"--tell {HOST}:{port}" in found.output) == (1, True)
    (key,) = read_keys(path)
    assert key.diverted_at is not None
    assert run("divert", key.id, "--undo").exit_code == 0
    assert read_keys(path)[0].diverted_at is None


def test_without_tell_those_are_told_that_the_environment_names_save_in_open_access(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id = add("--scope", "write").split("_")[2]
    nobody = [f"{HOST}:{port}" for port in free_ports(("a", "b", "c")).values()]
    monkeypatch.setenv("VC_INGEST_PROCESSES", f"{nobody[0]}, {nobody[1]}")
    monkeypatch.setenv("VC_QUERY_PROCESSES", nobody[2])
    assert run("withdraw", key_id).exit_code == 0
    monkeypatch.setenv("VIEW_COUNTS_ACCESS_MODE", "keys")
    found = run("divert", key_id)
    assert (found.exit_code, [name for name in nobody if name in found.output]) == (1, nobody)
    assert [name for name in nobody if name in run("divert", key_id, "--tell", nobody[1]).output] == nobody[1:2]
