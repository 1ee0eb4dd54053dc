"""A test session knows the most memory that it held, by part, and one that held too much fails and says of what."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

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


@pytest.mark.parametrize(
    ("mib", "before", "after"),
    [
        (SESSION_MIB_MAX, pytest.ExitCode.OK, pytest.ExitCode.OK),
        (SESSION_MIB_MAX + 1, pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED),
        (SESSION_MIB_MAX + 1, pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERRUPTED),
    ],
)
def test_a_session_that_held_too_much_fails(mib: float, before: pytest.ExitCode, after: pytest.ExitCode) -> None:
    session: Any = SimpleNamespace(exitstatus=before)
    SessionMemory(seen([Used("cassandra", mib / 2), Used("cassandra", mib / 2)])).pytest_sessionfinish(session)
    assert session.exitstatus == after


def test_a_session_of_tests_prints_what_it_held_and_only_the_first_of_its_processes_does(tmp_path: Path) -> None:
    # As a test's own session, with the plugin and none of what `tests` configures.
    (tmp_path / "conftest.py").write_text(
        "from tests.support import session_memory\n"
        "from tests.conftest import pytest_configure\n"
        "session_memory.SESSION_MIB_MAX = 10\n"
        "session_memory.EVERY_S = 0.1\n"
    )
    (tmp_path / "test_it.py").write_text(
        f"import subprocess, sys\n"
        f"def test_it():\n"
        f"    with subprocess.Popen([sys.executable, '-c', {HOLDING!r}], stdout=subprocess.PIPE) as process:\n"
        f"        process.stdout.readline()\n"
        f"        process.kill()\n"
    )
    command = [sys.executable, "-m", "pytest", "-n", "1", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    finished = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "1 passed" in finished.stdout
    assert finished.stdout.count("MiB (PSS) at most, of 10;") == 1
    assert finished.returncode == pytest.ExitCode.TESTS_FAILED


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
