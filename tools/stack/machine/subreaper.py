"""Runs one command so that no process that it started can outlive it.

It runs between supervisord and a part. It adopts every orphan of the part (PR_SET_CHILD_SUBREAPER), kills them all when
the part's main process ends, and ends with its own parent (PR_SET_PDEATHSIG), together with the part. So a TaskManager
that is killed with -9 leaves no Python workers, and a command line that is killed leaves no servers.

It uses only the standard library, imports nothing from the project, and is started with `python -I -S`, because it must
start in milliseconds and work when everything else is broken.

    subreaper.py [--pid-file FILE] [--grace SECONDS] [--lifeline FD] -- COMMAND [ARGUMENT ...]

Exit code: the command's own, or 128 + N when signal N ended it.
"""

import argparse
import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PARENT_DIED = signal.SIGUSR1
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
WAITED = (signal.SIGCHLD, PARENT_DIED, *STOP_SIGNALS)
LIFELINE_POLL_S = 0.25

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}, {value}): {os.strerror(error)}")


def _before_exec() -> None:
    # If this wrapper ends in any way, even by SIGKILL, the part must end at once, too.
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITED)


def descendants(root: int) -> list[int]:
    """The ids of all processes below `root` in /proc. A process that ends in the meantime is left out.

    Zombies are included: a process of which only the first thread has ended is shown as one, and its other threads
    still run.
    """
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as stat:
                # The second field is the name in brackets, which may have spaces and brackets itself.
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def _kill_descendants() -> None:
    """Kill everything below this process with SIGKILL until nothing is left. New orphans may arrive in the meantime.

    All of them become children of this process, and a child exists until its last thread has ended.
    """
    while _has_children():
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _has_children() -> bool:
    """Collect every child that has ended. Returns whether others are left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return False
    return True


def _status_if_ended(main_pid: int) -> int | None:
    """Collect every child that has ended. Returns the wait status of the main one, or None while it runs."""
    status = None
    while True:
        try:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == main_pid:
            status = wait_status


def _write_pid(path: str, pid: int) -> None:
    with open(path + ".new", "w", encoding="ascii") as out:
        out.write(f"{pid}\n")
    os.replace(path + ".new", path)


def run(command: list[str], *, pid_file: str | None, grace_s: float, lifeline: int | None) -> int:
    """Run `command` to its end and return its exit code. Afterwards no process below this one is left."""
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, PARENT_DIED)
    if os.getppid() != parent:
        return 128 + PARENT_DIED
    # Code between fork and exec is safe here, because this process has only one thread.
    main = subprocess.Popen(command, preexec_fn=_before_exec)  # noqa: PLW1509
    if pid_file is not None:
        _write_pid(pid_file, main.pid)
    kill_at = None
    try:
        while True:
            wait_s = LIFELINE_POLL_S if lifeline is not None or kill_at is not None else 3600.0
            event = signal.sigtimedwait(WAITED, wait_s)
            if event is not None and event.si_signo == PARENT_DIED:
                return 128 + PARENT_DIED
            if lifeline is not None and select.select([lifeline], [], [], 0)[0]:
                # At end of file, the process with the other end of the pipe has ended.
                return 128 + PARENT_DIED
            if event is not None and event.si_signo in STOP_SIGNALS:
                main.send_signal(signal.SIGTERM)
                kill_at = kill_at or time.monotonic() + grace_s
            status = _status_if_ended(main.pid)
            if status is not None:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if kill_at is not None and time.monotonic() >= kill_at:
                print(f"the part still ran {grace_s:g} s after SIGTERM, and was killed", file=sys.stderr, flush=True)
                return 128 + signal.SIGKILL
    finally:
        _kill_descendants()
        if pid_file is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(pid_file)


def main() -> int:
    """Read the command line and run the command."""
    parser = argparse.ArgumentParser(description="Run one command so that no process that it started outlives it.")
    parser.add_argument("--pid-file", help="the file into which the command's process id is written")
    parser.add_argument("--grace", type=float, default=10.0, metavar="SECONDS", help="the time from SIGTERM to SIGKILL")
    parser.add_argument("--lifeline", type=int, metavar="FD", help="a pipe: at its end of file everything is ended")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    return run(options.command, pid_file=options.pid_file, grace_s=options.grace, lifeline=options.lifeline)


if __name__ == "__main__":
    sys.exit(main())
