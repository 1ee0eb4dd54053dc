"""What a part of the stack inherits from the terminal: nothing that anybody forgot there."""

import http.server
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path

import pytest

from tools.cli.running import stop_on_signals
from tools.stack import PreflightError, Stack, StackOptions, flink, preflight, supervision
from tools.stack.files import S3_SECRET_KEY
from tools.stack.layout import Layout, repository
from tools.stack.machine import limits
from tools.stack.machine.environment import inherited, user_name, without_proxy
from tools.stack.machine.local_http import get_json
from tools.stack.machine.ports import DEFAULT_PORTS
from tools.stack.parts import PARTS_BY_NAME, STORE_KEYS, Context

FORGOTTEN = {
    "http_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "JAVA_TOOL_OPTIONS": "-Dhttp.proxyHost=127.0.0.1",
    "_JAVA_OPTIONS": "-Xmx16m",
    "JDK_JAVA_OPTIONS": "-Xmx16m",
    "CLASSPATH": "/nowhere",
    "FLINK_CONF_DIR": "/nowhere",
    "FLINK_ENV_JAVA_OPTS": "-Xmx16m",
    "HADOOP_CLASSPATH": "/nowhere",
    "KAFKA_OPTS": "-Xmx16m",
    "CASSANDRA_CONF": "/nowhere",
    "WEED_LEVELDB2_ENABLED": "false",
    "AWS_PROFILE": "nobody",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": "/nowhere",
    "PYTHONSTARTUP": "/nowhere.py",
    "PYTHONOPTIMIZE": "2",
    "VIRTUAL_ENV": "/nowhere",
    "NUMBA_DISABLE_JIT": "1",
    "BASH_ENV": "/nowhere",
    "LD_PRELOAD": "/nowhere.so",
    "XDG_CONFIG_HOME": "/nowhere",
    "TMPDIR": "/nowhere",
    "LC_ALL": "tr_TR.UTF-8",
    "LC_NUMERIC": "de_DE.UTF-8",
    "LANGUAGE": "tr",
    "HOME": "/nowhere",
    "USER": "somebody",
    "LOGNAME": "somebody",
}


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    for name, value in FORGOTTEN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("VIEW_COUNTS_STACK_JAVA_OPTIONS", raising=False)
    return Stack(StackOptions(home=tmp_path, ports="free"))


def test_nothing_that_was_forgotten_in_the_terminal_reaches_a_part(stack: Stack) -> None:
    given = stack.process_environment()
    assert {name for name, value in FORGOTTEN.items() if given.get(name) == value} == set()
    own = {"PYTHONPATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LC_ALL", "FLINK_CONF_DIR"}
    assert set(FORGOTTEN) & set(given) == own
    assert (given["LC_ALL"], given["USER"]) == ("C.UTF-8", user_name())
    assert given["PYTHONPATH"] == str(repository())


def test_settings_reach_parts_and_so_do_options_that_are_meant_for_its_jvms(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIEW_COUNTS_COUNTING_SALTS", "32")
    monkeypatch.setenv("VIEW_COUNTS_STACK_JAVA_OPTIONS", "-Xlog:gc")
    given = stack.process_environment()
    assert (given["VIEW_COUNTS_COUNTING_SALTS"], given["JDK_JAVA_OPTIONS"]) == ("32", "-Xlog:gc")


def test_a_secret_reaches_the_parts_that_need_it_and_lies_in_files_of_their_owner(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flink, "_resources", lambda *_: ([], []))
    monkeypatch.setenv("VIEW_COUNTS_S3_SECRET_KEY", "of another installation")
    assert set(STORE_KEYS) & set(stack.shared_environment()) == set()
    before = os.umask(0)
    try:
        stack._write_files()
    finally:
        assert os.umask(before) == 0
    written = [path for path in stack.layout.conf.rglob("*") if path.is_file()]
    having = {path.name for path in written if S3_SECRET_KEY in path.read_text()}
    assert having == {"supervisord.conf", "config.yaml", "s3-identities.json"}
    assert {path.name: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in written} == dict.fromkeys(
        [path.name for path in written], 0
    )
    conf = RawConfigParser(strict=False)
    conf.read(stack.layout.conf / "supervisord.conf")
    sections = [name for name in conf.sections() if S3_SECRET_KEY in conf.get(name, "environment", fallback="")]
    assert set(sections) == {f"program:{name}" for name in ("taskmanager", "ingest", "query", "drain")}
    assert not any(S3_SECRET_KEY in conf.get(name, "command", fallback="") for name in conf.sections())


def test_commands_are_found_behind_a_path_that_lacks_them(tmp_path: Path) -> None:
    assert inherited(tmp_path, {"PATH": "/opt/own"})["PATH"].split(":")[0] == "/opt/own"
    for outer in ({}, {"PATH": ""}, {"PATH": "/opt/own"}):
        assert "/usr/bin" in inherited(tmp_path, outer)["PATH"].split(":")


def test_who_has_a_number_and_no_name_is_somebody_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    assert inherited(tmp_path, {})["LOGNAME"] == "uid-54321"
    text = supervision.configuration(Layout(tmp_path), [])
    assert "user=" not in text, "supervisord looks the name up, and ends when there is none"


# --- nothing local goes through a proxy


def test_addresses_of_this_machine_are_added_to_those_that_need_no_proxy() -> None:
    assert without_proxy({"no_proxy": "corp.example, 127.0.0.1"})["NO_PROXY"] == "corp.example,127.0.0.1,localhost"


@pytest.fixture
def server() -> Iterator[str]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"here": 1}')

        def log_message(self, *_: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


def test_a_part_is_asked_itself_whatever_proxy_there_is(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get_json(server, timeout_s=5) == {"here": 1}


def test_no_tool_asks_by_a_client_that_looks_for_a_proxy() -> None:
    """Each urllib and httpx2 client of tools is one of a local address; tests have no_proxy (tests/conftest.py)."""
    found = []
    for path in (repository() / "tools").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if "urlopen(" in line or ("httpx2." in line and "lient(" in line)]
        found += [f"{path.name}: {line.strip()}" for line in lines if "trust_env=False" not in line]
        found += [
            f"{path.name}: {line.strip()}"
            for line in text.splitlines()
            if "httpx2.get(" in line and "trust_env=False" not in line
        ]
    assert found == []


# --- paths


def test_a_home_with_spaces_reaches_flink_without_them_where_its_script_splits_at_spaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyflink-udf-runner.sh writes the log of a worker's start to an unquoted path below io.tmp.dirs."""
    monkeypatch.setattr(flink, "_resources", lambda *_: ([], []))
    layout = Layout(tmp_path / "mit  Leer" / "stack")
    layout.make_folders()
    values = flink.settings(layout, DEFAULT_PORTS, {})
    flink.write_configuration(layout, values, DEFAULT_PORTS)
    command = PARTS_BY_NAME["taskmanager"].command(Context(layout, DEFAULT_PORTS, values, {}))
    given = [word.removeprefix("io.tmp.dirs=") for word in command if word.startswith("io.tmp.dirs=")]
    assert [(layout.home / one, " " in one) for one in given] == [(layout.tmp, False)]
    text = supervision.configuration(layout, [])
    assert f"\ndirectory={layout.home}\n" in text, "from which the path above is meant"
    assert not any(word.startswith("-D") and "file:" in word and " " in word for word in command)


def test_the_workers_python_is_a_name_without_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/tmp/mit Leer/clone/.local/venv/bin/python")
    values = flink.settings(Layout(tmp_path), DEFAULT_PORTS, {})
    assert values["python.executable"] == "python"
    assert values["python.client.executable"] == sys.executable


def test_the_socket_of_a_long_home_is_the_same_in_every_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = Layout(tmp_path / ("x" * 120))
    here = long.socket("supervisor")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert long.socket("supervisor") == here


# --- what cannot work is told before anything starts


def refused(layout: Layout) -> list[str]:
    try:
        preflight.check(layout, [], {})
    except PreflightError as error:
        return list(error.findings)
    return []


def test_a_path_that_parts_would_misread_is_refused_with_its_signs(tmp_path: Path) -> None:
    assert not [line for line in refused(Layout(tmp_path / "mit Leer" / "Ünï-1.0")) if "the path" in line]
    (line,) = [line for line in refused(Layout(tmp_path / "a:b;c")) if "the path" in line]
    assert "has ':' ';'" in line
    assert "VIEW_COUNTS_STACK_HOME" in line


def test_a_variable_that_is_no_setting_is_refused_with_the_one_that_is_meant() -> None:
    lines = list(
        preflight.unknown_variables({"VIEW_COUNTS_COUNTING_SALT": "8", "VIEW_COUNTS_TEST_X": "", "SALTS": "1"})
    )
    assert lines == [
        "VIEW_COUNTS_COUNTING_SALT is set and is not a setting: unset it, or do you mean VIEW_COUNTS_COUNTING_SALTS?"
    ]


def test_what_another_user_has_made_is_refused_with_this_users_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "data" and real(path, mode))
    (line,) = [line for line in refused(Layout(tmp_path)) if "written by this user" in line]
    assert line.startswith(f"{tmp_path / 'data'} cannot be written by this user ({user_name()})")


LIMITED = """
import os, resource
import limits
number, least = resource.RLIMIT_NOFILE, 256
if os.geteuid() == 0:
    os.setuid(65534)
resource.setrlimit(number, (least, {hard}))
limits.raise_limits()
print(resource.getrlimit(number)[0])
print("\\n".join(limits.refused_limits()))
"""


def run_limited(hard: str) -> list[str]:
    # The module alone, which needs nothing else of ours: this process may be nobody, and the rest root's.
    code = LIMITED.format(hard=hard)
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=repository() / "tools" / "stack" / "machine",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


def test_few_open_files_are_raised_where_that_is_allowed_and_told_where_it_is_not() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    raised, *lines = run_limited("resource.getrlimit(number)[1]")
    assert int(raised) == (limits.OPEN_FILES_WANTED if hard == -1 else min(hard, limits.OPEN_FILES_WANTED))
    assert not [line for line in lines if "open files" in line]
    soft, *lines = run_limited("least")
    assert soft == "256"
    (line,) = [line for line in lines if "open files" in line]
    assert line.startswith("256 open files are allowed here (ulimit -n), and 4096 are needed")


# --- nohup


@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_hangup_that_is_ignored_already_stays_so(before: signal.Handlers) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGHUP, before)
        stop_on_signals()
        assert (signal.getsignal(signal.SIGHUP) is signal.SIG_IGN) == (before is signal.SIG_IGN)
        assert callable(signal.getsignal(signal.SIGTERM))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
