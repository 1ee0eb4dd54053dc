"""The command line of the local stack: `python -m tools.cli`, or `bin/vc`.

Turns arguments into calls of tools.stack and their results into text; decides nothing itself.
"""

import contextlib
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, ModuleType
from typing import Annotated, NoReturn

import psutil
import typer
from rich.console import Console
from rich.table import Table

from settings import KafkaSettings, Settings
from tools.rollups import HourlyRollups
from tools.stack import (
    ALL_PARTS,
    FlinkCommandError,
    PartError,
    PreflightError,
    Stack,
    StackOptions,
    StackRunningError,
    SupervisorGoneError,
)
from tools.stack.layout import repository
from tools.stack.parts import PARTS_BY_NAME
from tools.stack.ports import HOST, PortSettingError
from tools.stack.stack import follow, statuses_as_json
from tools.upgrade import UpgradeError
from tools.upgrade import upgrade as upgrade_job

HOME_VARIABLE = "VIEW_COUNTS_STACK_HOME"
RUNNING_POLL_S = 0.5
ROLLUP_TIMEOUT_S = 3600.0
# After an hour, until all of it is archived.
ROLLUP_SETTLED_S = 180.0
CALENDAR_END_MS = 253_402_300_799_000
TIME_FORMATS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S"]
# The names are the jobs' own, written again here because tools must not import Flink.
COUNT_JOB_NAME = "view-counts"
COUNT_JOB = "jobs/view_counts.py"
ARCHIVE_JOB_NAME = "archive-events"
ARCHIVE_JOB = "jobs/archive_events.py"
ROLLUP_JOB = "jobs/rollup.py"
AUDIT_JOB = "jobs/audit.py"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The view counter on this machine.",
)
console = Console()

Name = Annotated[str, typer.Argument(help=f"One of: {', '.join(PARTS_BY_NAME)}.")]


def stack_home() -> Path:
    """Where the stack of the command line keeps its data: .local/stack, or VIEW_COUNTS_STACK_HOME."""
    return Path(os.environ.get(HOME_VARIABLE) or repository() / ".local" / "stack")


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """What the user can mend, as plain lines and exit code 1, without a traceback."""
    try:
        yield
    except (
        FlinkCommandError,
        PartError,
        PortSettingError,
        PreflightError,
        StackRunningError,
        SupervisorGoneError,
        UpgradeError,
    ) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _stop_on_signals() -> None:
    """Let SIGTERM and a closed terminal end `up` as Ctrl-C does: in good order."""

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)


@contextlib.contextmanager
def _running_stack(parts: tuple[str, ...] = ALL_PARTS) -> Iterator[Stack]:
    """Start the stack, tell of its progress, and stop it on Ctrl-C; a second Ctrl-C does not hurry it."""
    _stop_on_signals()
    stack = Stack(StackOptions(home=stack_home(), parts=parts))

    def progress(name: str, event: str, seconds: float) -> None:
        if event == "ready":
            console.print(f"{seconds:6.1f} s  {PARTS_BY_NAME[name].title} is ready")

    stopped = f"stopped; the data stays in {stack.layout.home} until `make clean-data`"
    # What could not be started has ended itself, and a stack that another process runs is not ours to stop.
    try:
        stack.start(progress)
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
    shown = {port for part in stack.parts for port in part.ports}
    for name, address in stack.endpoints.items():
        if name in shown:
            table.add_row(name, address)
    console.print(table)


def _wait_until_stopped(stack: Stack) -> NoReturn:
    while stack.running():
        time.sleep(RUNNING_POLL_S)
    raise PartError("the stack was stopped from outside")


@app.command()
def up(
    part: Annotated[list[str] | None, typer.Option(help="Only this part; may be given several times.")] = None,
) -> None:
    """Start everything and keep it running until Ctrl-C."""
    with _plain_errors(), _running_stack(tuple(part or ALL_PARTS)) as stack:
        _show_endpoints(stack)
        _wait_until_stopped(stack)


@app.command()
def run(
    *,
    events_per_second: Annotated[int, typer.Option(help="Of the demo load.", min=1)] = 2000,
    demo: Annotated[bool, typer.Option(help="Send a demo load, and time its way.")] = True,
) -> None:
    """Start everything and count: submits the jobs unless they came back with their cluster; until Ctrl-C."""
    started_at_s = psutil.Process().create_time()
    with _plain_errors(), _running_stack() as stack:
        _ensure_job(stack, "count", COUNT_JOB_NAME, "-py", COUNT_JOB)
        _show_endpoints(stack)
        # This process is a client of the stack like any other from here on.
        os.environ.update(stack.environment())
        # Late, since the other commands answer sooner without the clients of Kafka and Cassandra.
        from tools.demo import Demo, DemoOptions  # noqa: PLC0415

        log = stack.layout.log_file("rollup")
        options = DemoOptions(
            settings=Settings(),
            endpoints=stack.endpoints,
            events_per_second=events_per_second if demo else 0,
            started_at_s=started_at_s,
        )

        def hourly() -> str:
            printed = _roll_up(stack)
            stack.expire_objects()
            return printed

        with Demo(options) as running, HourlyRollups(hourly, log, settled_s=ROLLUP_SETTLED_S):
            # Second, since counting comes first, and two cores start one job sooner than two. All of it is copying: one
            # subtask does many times what the count job counts.
            running.show(
                console,
                stack.running,
                lambda: _ensure_job(stack, "archive", ARCHIVE_JOB_NAME, "-p", "1", "-py", ARCHIVE_JOB),
            )
        raise PartError("the stack was stopped from outside")


def _ensure_job(stack: Stack, title: str, name: str, *arguments: str) -> None:
    """Submit a job, unless it came back with its cluster."""
    if name in stack.unfinished_jobs().values():
        console.print(f"         the {title} job goes on where it was")
    else:
        console.print(f"         the {title} job is submitted: {stack.flink_run(arguments)}")


def _roll_up(stack: Stack) -> str:
    """Run the rollup to its end; what it printed. In one slot, which two cores have left beside the other jobs."""
    return stack.flink("run", "-p", "1", "-py", ROLLUP_JOB, timeout_s=ROLLUP_TIMEOUT_S)


@app.command()
def upgrade(
    *,
    parallelism: Annotated[int | None, typer.Option(help="Of the new job; as configured when left out.", min=1)] = None,
) -> None:
    """Replace the running count job by this code: stop with savepoint, start from it, check the ledger across it."""
    with _plain_errors():
        stack = Stack.attach(stack_home())
        jobs = [job for job, name in stack.unfinished_jobs().items() if name == COUNT_JOB_NAME]
        if len(jobs) != 1:
            raise PartError(
                f"{len(jobs)} jobs called {COUNT_JOB_NAME} run, and one is to be upgraded; see `vc flink list`"
            )
        # Late, as in `run`.
        from tools.recount import Store, end_offsets  # noqa: PLC0415

        at_parallelism = [] if parallelism is None else ["-p", str(parallelism)]
        with Store(HOST, stack.ports["cassandra"], Settings().cassandra.keyspace) as store:
            done = upgrade_job(
                stack,
                jobs[0],
                start=lambda savepoint: stack.flink_run(["-s", savepoint, *at_parallelism, "-py", COUNT_JOB]),
                read_ledger=store.ledger,
                count_written=lambda: sum(
                    end_offsets(stack.endpoints["kafka"], Settings().kafka.events_topic).values()
                ),
                say=console.print,
            )
        console.print(f"the ledger holds: each of {done.records:,} records once, every row balanced")


@app.command()
def rollup() -> None:
    """Count what was archived since the last time, into hours, days and totals; ends when it is done."""
    with _plain_errors():
        stack = Stack.attach(stack_home())
        typer.echo(_roll_up(stack))


@app.command()
def audit(
    *,
    repair: Annotated[bool, typer.Option(help="Write what is right; else only say what is not.")] = False,
    hours: Annotated[int | None, typer.Option(help="Viewed so long ago at most; 168 if not given.", min=1)] = None,
) -> None:
    """Compare the stream's minutes with what was counted from the archive; fails when something is wrong."""
    options = [*(["--repair"] if repair else []), *([] if hours is None else ["--hours", str(hours)])]
    with _plain_errors():
        stack = Stack.attach(stack_home())
        typer.echo(stack.flink("run", "-p", "1", "-py", AUDIT_JOB, *options, timeout_s=ROLLUP_TIMEOUT_S))


@app.command()
def down() -> None:
    """Stop what `up` or `run` started in another terminal."""
    with _plain_errors():
        Stack.attach(stack_home()).stop()


@app.command()
def status(
    *, as_json: Annotated[bool, typer.Option("--json", help="One JSON array, with ports and pids.")] = False
) -> None:
    """Show every part: state, process id, ports. Exit code 1 unless all are ready."""
    with _plain_errors():
        statuses = Stack.attach(stack_home()).status()
    if as_json:
        typer.echo(statuses_as_json(statuses))
    else:
        table = Table("part", "state", "ready", "pid", "ports", box=None)
        for part in statuses:
            ports = " ".join(f"{name}:{port}" for name, port in part.ports.items())
            ready = "yes" if part.ready else "no"
            table.add_row(part.name, part.state.lower(), ready, str(part.pid or "-"), ports)
        console.print(table)
    raise typer.Exit(0 if all(part.ready for part in statuses) else 1)


@app.command()
def logs(
    name: Name,
    *,
    lines: Annotated[int, typer.Option("-n", help="How many lines of the end.", min=1)] = 100,
    following: Annotated[bool, typer.Option("-f", "--follow", help="Go on as it grows.")] = False,
) -> None:
    """Print the log of a part; works for a stopped stack too."""
    with _plain_errors():
        stack = Stack(StackOptions(home=stack_home()))
        if name not in PARTS_BY_NAME:
            raise PartError(f"{name}: no such part; there are {', '.join(PARTS_BY_NAME)}")
        typer.echo(stack.logs(name, lines))
        if following:
            with contextlib.suppress(KeyboardInterrupt):
                for line in follow(stack.layout.log_file(name)):
                    typer.echo(line, nl=False)


@app.command()
def restart(name: Name) -> None:
    """Stop a part in good order, start it and wait until it is ready."""
    with _plain_errors():
        Stack.attach(stack_home()).restart(name)


@app.command()
def kill(
    name: Name,
    *,
    signal_number: Annotated[int, typer.Option("--signal", "-s", help="Which signal to send.")] = signal.SIGKILL,
) -> None:
    """Kill a part's process, with -9 unless told otherwise; it comes back by itself."""
    with _plain_errors():
        typer.echo(Stack.attach(stack_home()).kill(name, signal_number))


@app.command()
def metadata(
    file: Annotated[typer.FileBinaryRead, typer.Argument(help="Lines of JSON; - for standard input.")],
) -> None:
    """Publish what is known of videos: video_id, title, channel_id, channel_name and created_at a line."""
    with _plain_errors():
        os.environ.update(Stack.attach(stack_home()).environment())
        # Late, as in `run`.
        from tools.metadata import BadLineError, publish, read_lines  # noqa: PLC0415

        try:
            typer.echo(f"{publish(Settings().kafka, read_lines(file))} videos published")
        except BadLineError as error:
            raise PartError(f"{file.name}: {error}") from error


Viewers = Annotated[list[str], typer.Argument(help="viewer_ids.")]
From = Annotated[
    datetime | None, typer.Option("--from", formats=TIME_FORMATS, help="UTC; the earliest possible by default.")
]


@app.command()
def block(
    viewers: Viewers,
    *,
    since: From = None,
    until: Annotated[datetime | None, typer.Option(formats=TIME_FORMATS, help="UTC; for good by default.")] = None,
) -> None:
    """Let views of these viewers not count, by the time they arrive. Takes effect in a minute and a half."""
    with _block_list() as (change, kafka):
        _told("blocked", change.block(kafka, viewers, _ms(since), _ms(until)))


@app.command()
def unblock(viewers: Viewers, *, since: From = None) -> None:
    """Let views of these viewers count again. Takes effect in a minute and a half."""
    with _block_list() as (change, kafka):
        _told("no longer blocked", change.unblock(kafka, viewers, _ms(since)))


@app.command()
def blocked() -> None:
    """Show who is, was or will be blocked, and when."""
    with _block_list() as (change, kafka):
        table = Table("viewer", "from", "until", box=None)
        for viewer, periods in sorted(change.periods(kafka).items()):
            for one in periods:
                is_for_good = one.until_ms == change.FOR_GOOD_MS
                table.add_row(viewer, _utc(one.from_ms), "for good" if is_for_good else _utc(one.until_ms))
        console.print(table)


@contextlib.contextmanager
def _block_list() -> Iterator[tuple[ModuleType, KafkaSettings]]:
    """The module that changes it, and where it is."""
    with _plain_errors():
        os.environ.update(Stack.attach(stack_home()).environment())
        # Late, as in `run`.
        from confluent_kafka import KafkaException  # noqa: PLC0415

        from tools import block_list  # noqa: PLC0415

        try:
            yield block_list, Settings().kafka
        except (block_list.TooEarlyError, block_list.RefusedError, KafkaException) as error:
            raise PartError(str(error)) from error


def _ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.replace(tzinfo=UTC).timestamp() * 1000)


def _utc(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(min(at_ms, CALENDAR_END_MS) / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _told(what: str, from_ms: int) -> None:
    typer.echo(f"{what}, for views that arrive from {_utc(from_ms)} on")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def flink(context: typer.Context) -> None:
    """Run Flink's own command line against this stack: `vc flink list`, `vc flink savepoint JOB`."""
    with _plain_errors():
        typer.echo(Stack.attach(stack_home()).flink(*context.args))


@app.command()
def environment() -> None:
    """Print what points a program at this stack, for `eval`."""
    with _plain_errors():
        for name, value in Stack.attach(stack_home()).environment().items():
            typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def clean_data() -> None:
    """Forget all data and logs of the stopped stack."""
    home = stack_home()
    with _plain_errors():
        try:
            Stack.attach(home)
        except SupervisorGoneError:
            shutil.rmtree(home, ignore_errors=True)
        else:
            raise StackRunningError("the stack runs: stop it first, with Ctrl-C or `make down`")


if __name__ == "__main__":
    sys.exit(app())
