"""A test session knows the most memory that it held, by part, and one that held too much fails and says of what."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import pytest_configure
from tests.support.session_memory import SESSION_MIB_MAX, TESTS, Peak, SessionMemory
from tools.stack import memory, supervision
from tools.stack.layout import Layout
from tools.stack.memory import Used
from tools.stack.parts import PARTS_BY_NAME

HOLDING = "import time; held = bytearray(b'x' * (64 << 20)); print(flush=True); time.sleep(600)"


def seen(*samples: list[Used], resident_mib: float = 1e9) -> Peak:
    """What is known after these samples."""
    left = iter(samples)
    peak = Peak(lambda: next(left), lambda: resident_mib)
    for _ in samples:
        peak.look()
    return peak


def test_the_parts_of_the_highest_sum_are_kept_and_the_most_of_each_alone() -> None:
    peak = seen(
        [Used(None, 100), Used("kafka", 300)],
        [Used(None, 100), Used("kafka", 200), Used("kafka", 250)],
        [Used("redis", 5)],
    )
    assert peak.mib == 550
    assert peak.by_part == {TESTS: 100, "kafka": 450}
    assert peak.of_one == {TESTS: 100, "kafka": 300, "redis": 5}
    first, *others = peak.lines()
    assert first == f"550 MiB (PSS) at most, of {SESSION_MIB_MAX:,}; 450 of them in parts of stacks"
    budget = PARTS_BY_NAME["kafka"].memory_mib
    assert [" ".join(line.split()) for line in others] == [
        f"kafka 450 MiB then; 300 in one stack at most, budget {budget:,}",
        f"{TESTS} 100 MiB then; 100 in one stack at most",
    ]


def test_what_cannot_be_the_highest_is_not_measured() -> None:
    asked: list[int] = []

    def used() -> list[Used]:
        asked.append(1)
        return [Used(None, 400)]

    resident = iter([500.0, 400.0, 400.5])
    peak = Peak(used, lambda: next(resident))
    counts = []
    for _ in range(3):
        peak.look()
        counts.append(len(asked))
    assert counts == [1, 1, 2]


def ended(peak: Peak, before: pytest.ExitCode = pytest.ExitCode.OK) -> pytest.ExitCode:
    """The exit code of a session that would have ended with another."""
    session: Any = SimpleNamespace(exitstatus=before)
    SessionMemory(peak).pytest_sessionfinish(session)
    code: pytest.ExitCode = session.exitstatus
    return code


def test_a_session_that_held_too_much_fails() -> None:
    half = Used(None, SESSION_MIB_MAX / 2)
    assert ended(seen([half, half])) == pytest.ExitCode.OK
    beyond = seen([half, half, Used("redis", 1)])
    assert list(beyond.findings()) == [f"all together had more than {SESSION_MIB_MAX:,} MiB"]
    assert ended(beyond) == pytest.ExitCode.TESTS_FAILED
    assert ended(beyond, pytest.ExitCode.INTERRUPTED) == pytest.ExitCode.INTERRUPTED


def test_a_session_in_which_a_part_of_one_stack_was_beyond_its_budget_fails() -> None:
    budget = PARTS_BY_NAME["redis"].memory_mib
    assert ended(seen([Used("redis", budget), Used("redis", budget)])) == pytest.ExitCode.OK
    beyond = seen([Used("redis", budget + 1)], [Used("kafka", budget + 2)])
    assert list(beyond.findings()) == [f"redis had {budget + 1} MiB, more than its budget of {budget}"]
    assert ended(beyond) == pytest.ExitCode.TESTS_FAILED


@pytest.mark.slow
def test_a_session_prints_what_it_held_and_its_exit_code_says_that_it_was_too_much(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "from tests.support import session_memory\n"
        "session_memory.SESSION_MIB_MAX = 10\n"
        "def pytest_configure(config):\n"
        "    config.pluginmanager.register(session_memory.SessionMemory())\n"
    )
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "1 passed" in finished.stdout
    assert "MiB (PSS) at most, of 10; 0 of them in parts of stacks\n" in finished.stdout
    assert "all together had more than 10 MiB\n" in finished.stdout
    assert finished.returncode == pytest.ExitCode.TESTS_FAILED


def test_of_the_processes_of_a_session_only_the_first_measures() -> None:
    registered: list[object] = []
    plugins = SimpleNamespace(register=registered.append)
    first: Any = SimpleNamespace(pluginmanager=plugins)
    pytest_configure(first)
    assert [type(one) for one in registered] == [SessionMemory]
    # What xdist gives to those that it starts.
    other: Any = SimpleNamespace(pluginmanager=plugins, workerinput={})
    pytest_configure(other)
    assert len(registered) == 1


def test_memory_belongs_to_the_part_that_is_watched_above_a_process(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make_folders()
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDING!r}])"
    program = supervision.Program("redis", [sys.executable, "-c", outer], {}, stop_grace_s=3)
    command = supervision.watched(layout, program)
    starting = f"import subprocess; subprocess.run({command!r})"
    with subprocess.Popen([sys.executable, "-c", starting], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = {one.part: one.mib for one in memory.used_below(process.pid)}
        assert sum(found.values()) == pytest.approx(memory.pss_mib(process.pid), rel=0.2)
        resident = memory.rss_mib(process.pid)
        # What the wrapper watches ends with it, and it with the process above it.
        process.kill()
    assert set(found) == {None, "redis"}
    assert found[None] < 64 < found["redis"]
    assert resident >= found["redis"]
    assert memory.rss_mib(process.pid) == 0
