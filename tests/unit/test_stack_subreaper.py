"""The wrapper around every part: nothing that a part started may outlive it, whoever is killed first."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tools.stack.machine import subreaper

WRAPPER = [sys.executable, "-I", "-S", subreaper.__file__]
# Starts a grandchild in a session of its own, as daemons do, tells its process id, and sleeps.
PARENT = """
import subprocess, sys, time
sleep = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleep, start_new_session=True)
open(sys.argv[1], "w").write(str(child.pid))
{then}
"""
GONE_S = 5.0


def eventually(condition: Callable[[], bool], timeout_s: float = GONE_S) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def grandchild_of(command: list[str], told: Path) -> tuple["subprocess.Popen[bytes]", int]:
    process = subprocess.Popen(command)
    assert eventually(lambda: told.exists() and told.read_text() != "")
    return process, int(told.read_text())


def python(then: str, told: Path) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", PARENT.format(then=then), str(told)]


def test_orphans_are_killed_when_the_command_ends_and_its_exit_code_is_passed_on(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    process, orphan = grandchild_of([*WRAPPER, "--", *python("sys.exit(7)", told)], told)
    assert process.wait(GONE_S) == 7
    assert gone(orphan)


def test_orphans_are_killed_when_the_command_is_killed(tmp_path: Path) -> None:
    told, pid_file = tmp_path / "pid", tmp_path / "main"
    command = [*WRAPPER, "--pid-file", str(pid_file), "--", *python("time.sleep(600)", told)]
    process, orphan = grandchild_of(command, told)
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    assert process.wait(GONE_S) == 128 + signal.SIGKILL
    assert gone(orphan)
    assert not pid_file.exists()


def test_one_whose_first_thread_has_ended_is_killed_and_waited_for(tmp_path: Path) -> None:
    """A killed JVM is like that for a while: /proc calls it a zombie, and its threads still hold its ports."""
    told = tmp_path / "pid"
    headless = (
        "import ctypes, os, platform, sys, threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        # The system call exit, which ends one thread alone.
        "ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[platform.machine()], 0)\n"
    )
    start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-I', '-S', '-c', {headless!r}, sys.argv[1]])"
    wait = "\nimport time; time.sleep(600)"
    command = [*WRAPPER, "--", sys.executable, "-I", "-S", "-c", start + wait, str(told)]
    process, orphan = grandchild_of(command, told)
    assert eventually(lambda: psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE)
    assert len(psutil.Process(orphan).threads()) > 1
    process.terminate()
    process.wait(GONE_S)
    assert not psutil.pid_exists(orphan)


@pytest.mark.slow
def test_sigterm_reaches_the_command_and_a_deaf_command_is_killed_after_the_grace(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    polite = "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); time.sleep(600)"
    process, orphan = grandchild_of([*WRAPPER, "--", *python(polite, told)], told)
    # The process id is told before the handler is set.
    time.sleep(0.3)
    process.terminate()
    assert process.wait(GONE_S) == 3
    assert gone(orphan)

    told.unlink()
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    process, orphan = grandchild_of([*WRAPPER, "--grace", "0.5", "--", *python(deaf, told)], told)
    time.sleep(0.3)
    process.terminate()
    assert process.wait(GONE_S) == 128 + signal.SIGKILL
    assert gone(orphan)


def test_everything_ends_with_the_owner_of_the_life_line(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    read_end, write_end = os.pipe()
    command = [*WRAPPER, "--lifeline", str(read_end), "--", *python("time.sleep(600)", told)]
    process = subprocess.Popen(command, pass_fds=(read_end,))
    os.close(read_end)
    assert eventually(lambda: told.exists() and told.read_text() != "")
    orphan = int(told.read_text())
    assert not gone(orphan)
    os.close(write_end)
    process.wait(GONE_S)
    assert gone(orphan)


@pytest.mark.parametrize("victim", ["outer", "inner"])
def test_a_killed_wrapper_leaves_nothing_below_another_wrapper(tmp_path: Path, victim: str) -> None:
    """As in a stack: a wrapper around supervisord, and below it a wrapper around each part."""
    told, inner_file = tmp_path / "pid", tmp_path / "inner"
    inner = [*WRAPPER, "--", *python("time.sleep(600)", told)]
    process, orphan = grandchild_of([*WRAPPER, "--pid-file", str(inner_file), "--", *inner], told)
    inner_pid = int(inner_file.read_text())
    main = next(child.pid for child in psutil.Process(inner_pid).children() if child.pid != orphan)
    os.kill(process.pid if victim == "outer" else inner_pid, signal.SIGKILL)
    process.wait(GONE_S)
    assert eventually(lambda: gone(inner_pid) and gone(main) and gone(orphan))
