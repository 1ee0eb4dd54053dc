"""Commands that start the stack and keep it running until Ctrl-C."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import FrameType
from typing import Annotated, NoReturn

import psutil
import typer
from rich.table import Table

from schemas.jobs import ARCHIVE, COUNT
from settings import Settings
from tools.cli.attached import plain_errors, stack_home
from tools.cli.jobs import ensure_job, roll_up
from tools.rollups import HourlyRollups
from tools.stack import ALL_PARTS, PartError, Stack, StackOptions
from tools.stack.flink import LOCAL_MEMORY
from tools.stack.machine.disk import DiskWatch, disk_limits
from tools.stack.machine.environment import JAVA_OPTIONS_VARIABLE
from tools.stack.memory_watch import MemoryWatch
from tools.stack.parts import PARTS, PARTS_BY_NAME
from tools.terminal import console

RUNNING_POLL_S = 0.5
SAID_LINES = 10
# So long after the end of an hour everything that arrived in it is archived.
ROLLUP_SETTLED_S = 180.0
# The options of `run` by default. Without the optimising compiler, the JVMs need half the CPU time to start, and they
# can still count many times the demo load. `up` leaves the compiler on.
QUICK_JAVA_OPTIONS = "-XX:TieredStopAtLevel=1"
# Eight of the largest bodies at once. The budget of ingest has no room for the 32 of an installation.
BODIES_VARIABLE = "VIEW_COUNTS_INGEST_BODIES_BYTES_MAX"
BODIES_BYTES_MAX = 64 << 20

app = typer.Typer()


@app.command()
def up(
    part: Annotated[list[str] | None, typer.Option(help="Only this part; may be given several times.")] = None,
) -> None:
    """Start everything but the jobs, and keep it running until Ctrl-C."""
    with plain_errors(), _running_stack(tuple(part or ALL_PARTS)) as stack:
        _show_endpoints(stack)
        _wait_until_stopped(stack)


@app.command()
def run(
    *,
    events_per_second: Annotated[int, typer.Option(help="Events a second of the demo load.", min=1)] = 2000,
    demo: Annotated[bool, typer.Option(help="Send a demo load, and measure its freshness.")] = True,
) -> None:
    """Start everything and count until Ctrl-C. Jobs of an earlier run continue; otherwise they are submitted."""
    started_at_s = psutil.Process().create_time()
    os.environ.setdefault(JAVA_OPTIONS_VARIABLE, QUICK_JAVA_OPTIONS)
    later = tuple(part.name for part in PARTS if part.comes_after_first_count)
    with plain_errors(), _running_stack(later=later) as stack:
        ensure_job(stack, "count", COUNT)
        _show_endpoints(stack)
        # From here on this process is a client of the stack like any other.
        os.environ.update(stack.environment())
        from tools.demo import Demo, DemoOptions

        log = stack.layout.log_file("rollup")
        options = DemoOptions(
            settings=Settings(),
            endpoints=stack.endpoints,
            events_per_second=events_per_second if demo else 0,
            started_at_s=started_at_s,
        )

        watched = Watched(stack)

        def hourly() -> str:
            return f"{roll_up(stack)}\n{_erase_again()}\n{_abort_uploads()}"

        with Demo(options) as running, HourlyRollups(hourly, log, settled_s=ROLLUP_SETTLED_S):
            # The archive job is submitted after the first count, because two cores start one job sooner than two. It
            # only copies, so one subtask can copy many times what the count job counts.
            def once_counting() -> None:
                ensure_job(stack, "archive", ARCHIVE, "-p", "1")
                for name in later:
                    stack.start_part(name)
                    console.print(f"         {PARTS_BY_NAME[name].title} is ready")

            running.show(console, watched.running, once_counting)
        raise watched.ended()


def _erase_again() -> str:
    """Erase viewers whose erasures are open from what was archived since the last run. Returns the report."""
    from tools.erasure import as_text, erase_again, stores_of

    settings = Settings()
    with stores_of(settings) as stores:
        return as_text(erase_again(settings, stores, datetime.now(UTC)))


def _abort_uploads() -> str:
    """Abort uploads that no job can complete any more. On a cluster a rule of the bucket does it."""
    from tools.stack.lifecycle import abort_old_uploads

    return f"{abort_old_uploads(Settings())} unfinished uploads are aborted"


def stop_on_signals() -> None:
    """Let SIGTERM and a closed terminal (SIGHUP) stop the stack in the same way as Ctrl-C.

    If SIGHUP is ignored already, the user has typed `nohup`, and it stays ignored.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt)


@contextlib.contextmanager
def _running_stack(parts: tuple[str, ...] = ALL_PARTS, later: tuple[str, ...] = ()) -> Iterator[Stack]:
    """Start the stack, print its progress, and stop it on Ctrl-C; a second Ctrl-C does not hurry it."""
    stop_on_signals()
    os.environ.setdefault(BODIES_VARIABLE, str(BODIES_BYTES_MAX))
    stack = Stack(StackOptions(home=stack_home(), parts=parts, flink_overrides=LOCAL_MEMORY))

    def progress(name: str, event: str, seconds: float) -> None:
        if event == "ready":
            console.print(f"{seconds:6.1f} s  {PARTS_BY_NAME[name].title} is ready")

    stopped = f"stopped; the data stays in {stack.layout.home} until `make clean-data`"
    # If the start fails, `start` has stopped the parts again, or the stack belongs to another process. So the stack is
    # stopped only after a successful start.
    try:
        stack.start(progress, later=later)
    except KeyboardInterrupt:
        console.print(f"\n{stopped}")
        raise typer.Exit from None
    try:
        yield stack
    except KeyboardInterrupt:
        console.print("\nstopping")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        stack.stop()
    console.print(stopped)


def _show_endpoints(stack: Stack) -> None:
    table = Table(box=None, show_header=False)
    # A service without a balancer listens on its own port, and clients know it by the name of the service.
    shown = {port for part in stack.parts for port in (*part.ports, part.service)}
    for name, address in stack.endpoints.items():
        if name in shown:
            table.add_row(name, address)
    console.print(table)


class Watched:
    """Watches a running stack, its memory and the disk that it fills, and says why the stack has ended."""

    def __init__(self, stack: Stack) -> None:
        def say(line: str) -> None:
            console.print(line, style="red")

        self._stack = stack
        self._disk = DiskWatch(stack.layout.home, disk_limits(), say)
        budgets = {part.name: part.memory_mib for part in stack.parts}
        self._memory = MemoryWatch(stack.memory_mib, budgets, say)

    def running(self) -> bool:
        """Whether the stack runs. Raises DiskError if it must be stopped because the disk is full."""
        is_running = self._stack.running()
        # The disk is also checked if the stack has ended, because a full disk may be the reason.
        self._disk.look()
        if is_running:
            self._memory.look()
        return is_running

    def ended(self) -> PartError:
        """An error that says why the stack has ended, as far as is known, with the last lines of supervisord."""
        said = self._stack.logs("supervisord-start", SAID_LINES)
        stopped = "the stack was stopped from outside"
        if not said.strip():
            return PartError(stopped)
        log = self._stack.layout.log_file("supervisord-start")
        return PartError(f"{said}\n{stopped}; above is the end of {log}")


def _wait_until_stopped(stack: Stack) -> NoReturn:
    watched = Watched(stack)
    while watched.running():
        time.sleep(RUNNING_POLL_S)
    raise watched.ended()
