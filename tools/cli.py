"""The command line of the local stack: `python -m tools.cli`, or `bin/vc`.

Turns arguments into calls of tools.stack and their results into text; decides nothing itself.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

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
from tools.stack.disk import DiskError, DiskSettingError, DiskWatch, disk_limits
from tools.stack.layout import HOME_VARIABLE, repository
from tools.stack.parts import PARTS_BY_NAME
from tools.stack.ports import HOST, PortSettingError
from tools.stack.stack import follow, statuses_as_json
from tools.stack.supervision import StartError
from tools.submitted import keep, kept
from tools.times import utc
from tools.upgrade import Plan, UpgradeError
from tools.upgrade import upgrade as upgrade_job
from tools.version_option import add_version_option
from udfs.logic.kept_settings import ACCEPT, SettingsRefusedError, of_state

if TYPE_CHECKING:
    from tools.suspects import Suspect

RUNNING_POLL_S = 0.5
SAID_LINES = 10
# A rollup and an audit end by themselves at their deadline.
AFTER_DEADLINE_S = 120.0
# After an hour, until all of it is archived.
ROLLUP_SETTLED_S = 180.0
TIME_FORMATS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S"]
# The names are the jobs' own, written again here because tools must not import Flink.
COUNT_JOB_NAME = "view-counts"
COUNT_JOB = "jobs/view_counts.py"
ARCHIVE_JOB_NAME = "archive-events"
ARCHIVE_JOB = "jobs/archive_events.py"
ROLLUP_JOB = "jobs/rollup.py"
AUDIT_JOB = "jobs/audit.py"
AcceptSettings = Annotated[
    bool, typer.Option("--accept-settings", help="Once, for what does not say by which settings it was made.")
]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The view counter on this machine.",
)
add_version_option(app)
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
        DiskError,
        DiskSettingError,
        FlinkCommandError,
        PartError,
        PortSettingError,
        PreflightError,
        StackRunningError,
        StartError,
        SupervisorGoneError,
        UpgradeError,
    ) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _stop_on_signals() -> None:
    """Let SIGTERM and a closed terminal end `up` as Ctrl-C does: in good order.

    Where SIGHUP is ignored already somebody has typed `nohup`, and means it.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
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


class _Watched:
    """A running stack and the disk that it fills. Neither ends without a word on why."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._disk = DiskWatch(stack.layout.home, disk_limits(), lambda line: console.print(line, style="red"))

    def running(self) -> bool:
        """Whether the stack runs. Raises DiskError when it is to be stopped."""
        is_running = self._stack.running()
        # A disk that was full before anybody looked is the reason, too.
        self._disk.look()
        return is_running

    def ended(self) -> PartError:
        """Why it does not run any more, as far as anybody can say; what supervisord has said comes first."""
        said = self._stack.logs("supervisord-start", SAID_LINES)
        stopped = "the stack was stopped from outside"
        if not said.strip():
            return PartError(stopped)
        log = self._stack.layout.log_file("supervisord-start")
        return PartError(f"{said}\n{stopped}; above is the end of {log}")


def _wait_until_stopped(stack: Stack) -> NoReturn:
    watched = _Watched(stack)
    while watched.running():
        time.sleep(RUNNING_POLL_S)
    raise watched.ended()


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

        watched = _Watched(stack)

        def hourly() -> str:
            return f"{_roll_up(stack)}\n{_erase_again()}\n{_abort_uploads()}"

        with Demo(options) as running, HourlyRollups(hourly, log, settled_s=ROLLUP_SETTLED_S):
            # Second, since counting comes first, and two cores start one job sooner than two. All of it is copying: one
            # subtask does many times what the count job counts.
            running.show(
                console,
                watched.running,
                lambda: _ensure_job(stack, "archive", ARCHIVE_JOB_NAME, "-p", "1", "-py", ARCHIVE_JOB),
            )
        raise watched.ended()


def _ensure_job(stack: Stack, title: str, name: str, *arguments: str) -> None:
    """Submit a job, unless it came back with its cluster."""
    if name in stack.unfinished_jobs().values():
        console.print(f"         the {title} job goes on where it was")
    else:
        console.print(f"         the {title} job is submitted: {stack.flink_run(arguments)}")
        if name == COUNT_JOB_NAME:
            _keep_submitted(stack, [], [])


def _roll_up(stack: Stack, *options: str) -> str:
    """Run the rollup to its end; what it printed. In one slot, which two cores have left beside the other jobs."""
    limit_s = Settings().history.deadline_s + AFTER_DEADLINE_S
    return stack.flink("run", "-p", "1", "-py", ROLLUP_JOB, *options, timeout_s=limit_s)


def _erase_again() -> str:
    """Erase, from what has been archived since, whose erasures are open; what was done."""
    # Late, as in `run`.
    from tools.erasure import as_text, erase_again, stores_of  # noqa: PLC0415

    settings = Settings()
    with stores_of(settings) as stores:
        return as_text(erase_again(settings, stores, datetime.now(UTC)))


def _abort_uploads() -> str:
    """Abort the uploads that nobody can complete any more, as a rule of the bucket does on a cluster."""
    # Late, as in `run`.
    from tools.stack.lifecycle import abort_old_uploads  # noqa: PLC0415

    return f"{abort_old_uploads(Settings())} unfinished uploads are aborted"


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def upgrade(
    context: typer.Context,
    *,
    parallelism: Annotated[int | None, typer.Option(help="Of the new job; as configured when left out.", min=1)] = None,
    accept_settings: AcceptSettings = False,
) -> None:
    """Replace the running count job by this code: check it, stop with savepoint, start from it, check the ledger.

    Other arguments are the job's own. What ran before is started again when the new job does not run.
    """
    with _plain_errors():
        stack = Stack.attach(stack_home())
        jobs = [job for job, name in stack.unfinished_jobs().items() if name == COUNT_JOB_NAME]
        if len(jobs) != 1:
            raise PartError(
                f"{len(jobs)} jobs called {COUNT_JOB_NAME} run, and one is to be upgraded; see `vc flink list`"
            )
        # Late, as in `run`.
        from connectors.cassandra import connect, migrate  # noqa: PLC0415
        from connectors.installation import ensure_topics  # noqa: PLC0415
        from connectors.kafka_admin import TopicMismatchError  # noqa: PLC0415
        from tools.recount import Store, end_offsets  # noqa: PLC0415
        from udfs.sinks.kept_settings import check_upgrade  # noqa: PLC0415

        cassandra = Settings().cassandra.model_copy(update={"hosts": HOST, "port": stack.ports["cassandra"]})
        # The code of before does not mind what is added; and before anything is stopped.
        migrate([HOST], stack.ports["cassandra"], cassandra)
        session = connect(cassandra)
        try:
            check_upgrade(session, of_state(Settings(), accepts=accept_settings))
        except SettingsRefusedError as error:
            raise UpgradeError(f"nothing was stopped: {error}") from error
        finally:
            session.cluster.shutdown()
        kafka = Settings().kafka.model_copy(update={"bootstrap_servers": stack.endpoints["kafka"]})
        try:
            ensure_topics(Settings().model_copy(update={"kafka": kafka}))
        except TopicMismatchError as error:
            raise UpgradeError(f"nothing was stopped: {error}") from error
        at_parallelism = [] if parallelism is None else ["-p", str(parallelism)]
        accepting = [ACCEPT] if accept_settings else []
        plan = _plan(stack, jobs[0], at_parallelism, [*context.args, *accepting])
        with Store(HOST, stack.ports["cassandra"], Settings().cassandra.keyspace) as store:
            done = upgrade_job(
                stack,
                jobs[0],
                plan,
                read_ledger=store.ledger,
                count_written=lambda: sum(
                    end_offsets(stack.endpoints["kafka"], Settings().kafka.events_topic).values()
                ),
                say=console.print,
            )
        # What is accepted once is accepted.
        _keep_submitted(stack, at_parallelism, context.args)
        console.print(f"the ledger holds: each of {done.records:,} records once, every row balanced")
        _name_old_savepoints(stack, done.savepoint)


def _plan(stack: Stack, running: str, at_parallelism: list[str], own: list[str]) -> Plan:
    """How the new job is checked and started, and how the one that runs is started again."""
    old = kept(stack.layout.submitted)
    widest = max(
        (vertex["parallelism"] for vertex in (stack.flink_rest(f"/jobs/{running}") or {}).get("vertices", ())),
        default=None,
    )
    as_it_was = [] if widest is None else ["-p", str(widest)]

    def go_back(savepoint: str) -> str:
        if old is None:
            return stack.flink_run(["-s", savepoint, *as_it_was, "-py", COUNT_JOB])
        arguments, variables = old.again(COUNT_JOB, savepoint, os.environ)
        return stack.flink_run(arguments, variables=variables)

    def keep_output(printed: str) -> str:
        log = stack.layout.log_file("upgrade")
        log.write_text(printed, encoding="utf-8")
        return f" (all that Flink printed is in {log})"

    return Plan(
        check=[*at_parallelism, "-py", COUNT_JOB, "--check", *own],
        start=lambda savepoint: stack.flink_run(["-s", savepoint, *at_parallelism, "-py", COUNT_JOB, *own]),
        go_back=go_back,
        by_hand=lambda savepoint: shlex.join(
            ["bin/vc", "flink", "run", "-d", "-s", savepoint, *as_it_was, "-py", COUNT_JOB]
        ),
        keep_output=keep_output,
    )


def _keep_submitted(stack: Stack, flink_arguments: Iterable[str], own: Iterable[str]) -> None:
    keep(stack.layout.submitted, repository(), list(flink_arguments), list(own))


def _name_old_savepoints(stack: Stack, newest: str) -> None:
    """Each upgrade leaves one, with all ids of days in it; nobody else takes them away."""
    os.environ.update(stack.environment())
    # Late, as in `run`.
    from tools.savepoints import disposal, older_than  # noqa: PLC0415

    try:
        old = older_than(newest, Settings().s3)
    except OSError as error:
        console.print(f"older savepoints could not be listed: {error}")
        return
    for line in disposal(old):
        console.print(line, soft_wrap=True, highlight=False)


@app.command()
def rollup(*, accept_settings: AcceptSettings = False) -> None:
    """Count what was archived since the last time, into hours, days and totals; ends when it is done."""
    with _plain_errors():
        stack = Stack.attach(stack_home())
        typer.echo(_roll_up(stack, *([ACCEPT] if accept_settings else [])))


@app.command()
def audit(
    *,
    repair: Annotated[bool, typer.Option(help="Write what is right; else only say what is not.")] = False,
    hours: Annotated[int | None, typer.Option(help="Viewed so long ago at most; 168 if not given.", min=1)] = None,
    recent: Annotated[
        bool, typer.Option(help="Of days only those of these hours, and no totals against their days.")
    ] = False,
) -> None:
    """Compare counts of all kinds with what was counted from the archive; fails when something is wrong."""
    options = [
        *(["--repair"] if repair else []),
        *([] if hours is None else ["--hours", str(hours)]),
        *(["--recent"] if recent else []),
    ]
    with _plain_errors():
        stack = Stack.attach(stack_home())
        typer.echo(
            stack.flink(
                "run", "-p", "1", "-py", AUDIT_JOB, *options, timeout_s=Settings().history.deadline_s + AFTER_DEADLINE_S
            )
        )


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
                table.add_row(viewer, utc(one.from_ms), "for good" if is_for_good else utc(one.until_ms))
        console.print(table)


@app.command()
def suspects(
    *,
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Of this day only, UTC.")] = None,
    marked_min: Annotated[int, typer.Option(help="With so many marked views, in all of what is shown.", min=1)] = 1,
    block: Annotated[
        bool, typer.Option(help="Look up who they are, in the archive, and who would be blocked.")
    ] = False,
    send: Annotated[bool, typer.Option(help="With --block: block them, as `block` does.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Show viewers who viewed a video more than the rules allow, by hash; put them on the block list."""
    if send and not block:
        raise typer.BadParameter("says nothing without --block", param_hint="--send")
    with _block_list() as (change, kafka):
        # Late, as in `run`.
        from schemas.viewers import is_no_viewer  # noqa: PLC0415
        from tools import suspects as marked  # noqa: PLC0415
        from tools.history import history_in_force  # noqa: PLC0415
        from udfs.logic.history import HistoryError  # noqa: PLC0415
        from udfs.sinks.history_store import HistoryStore  # noqa: PLC0415
        from udfs.sources.archive import Archive, filesystem  # noqa: PLC0415

        settings = Settings()
        store = filesystem(settings.s3)
        history, archive = HistoryStore(store, settings.history.path), Archive(store, settings.archive.path)
        try:
            manifest = history_in_force(settings, history)
        except (HistoryError, OSError) as error:
            raise PartError(f"{settings.history.path}: {error}") from error
        found = marked.suspects(history, manifest, None if day is None else day.date())
        found = marked.with_marked_of(found, marked_min)
        ids = marked.names(history, archive, manifest, found, settings.counting.salts) if block else {}
        _show_suspects(found, ids, as_json=as_json)
        if not block:
            return
        unknown = len({one.viewer for one in found} - ids.keys())
        if unknown:
            typer.echo(f"{unknown} are not found: their events have left the archive", err=True)
        nobody = sorted(name for name in ids.values() if is_no_viewer(name))
        if nobody:
            typer.echo(
                f"not to be blocked: {', '.join(map(repr, nobody))}, which clients send that know no viewer: all their "
                "views would count for nothing. Mend the client",
                err=True,
            )
        new = marked.not_blocked(kafka, (name for name in ids.values() if not is_no_viewer(name)))
        typer.echo(f"{len(new)} viewers to block, {len(ids) - len(nobody) - len(new)} are blocked already", err=True)
        if new and send:
            _told("blocked", change.block(kafka, new))
        elif new:
            typer.echo("nothing was changed; --send blocks them", err=True)


def _show_suspects(found: "list[Suspect]", ids: dict[bytes, str], *, as_json: bool) -> None:
    rows = [
        {**one._asdict(), "day": one.day.isoformat(), "viewer": one.viewer.hex(), "viewer_id": ids.get(one.viewer)}
        for one in found
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("day", "viewer", "viewer_id", "kind", "video", "views", "marked", box=None)
    for row in rows:
        names = ("day", "viewer", "viewer_id", "kind", "video_id", "views", "marked")
        table.add_row(*("-" if row[name] is None else str(row[name]) for name in names))
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


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def erase(context: typer.Context) -> None:
    """Take viewers out of archive and history, while every number stays: `vc erase --help`."""
    with _plain_errors():
        if "--help" not in context.args:
            os.environ.update(Stack.attach(stack_home()).environment())
        # Late, as in `run`.
        from tools.erasure.__main__ import app as erasure  # noqa: PLC0415

        raise typer.Exit(erasure(context.args, prog_name="vc erase", standalone_mode=False) or 0)


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def history(context: typer.Context) -> None:
    """Make, show, verify or restore the register of history: `vc history --help`."""
    with _plain_errors():
        if "--help" not in context.args:
            os.environ.update(Stack.attach(stack_home()).environment())
        # Late, as in `run`.
        from tools.history.__main__ import app as register  # noqa: PLC0415

        raise typer.Exit(register(context.args, prog_name="vc history", standalone_mode=False) or 0)


def _ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.replace(tzinfo=UTC).timestamp() * 1000)


def _told(what: str, from_ms: int) -> None:
    typer.echo(f"{what}, for views that arrive from {utc(from_ms)} on")


replay = typer.Typer(no_args_is_help=True, help="Late events and dead letters: see them, mend them, send them again.")
app.add_typer(replay, name="replay")
OfTopic = Annotated[Literal["late", "dead-letter"] | None, typer.Option("--topic", help="Of both topics by default.")]
Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Of this reason only; may be given several times.")]
ArrivedFrom = Annotated[
    datetime | None, typer.Option("--from", formats=TIME_FORMATS, help="UTC; arrived then or later.")
]
ArrivedTo = Annotated[datetime | None, typer.Option("--to", formats=TIME_FORMATS, help="UTC; arrived before.")]
Limit = Annotated[int | None, typer.Option(help="The first so many letters.", min=1)]
AsJson = Annotated[bool, typer.Option("--json", help="A JSON object a line.")]


@replay.command("list")
def replay_list(
    *,
    topic: OfTopic = None,
    reason: Reasons = None,
    since: ArrivedFrom = None,
    until: ArrivedTo = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Count letters by topic, reason and hour of arrival."""
    with _replay() as (tool, settings):
        letters = tool.choose(settings, topic, reason, _ms(since), _ms(until), limit)
        _print(tool.list_lines(letters, as_json=as_json))


@replay.command("show")
def replay_show(
    *,
    topic: OfTopic = None,
    reason: Reasons = None,
    since: ArrivedFrom = None,
    until: ArrivedTo = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Print each letter: when it arrived, its place, why it was not counted, and its events, or its bytes in hex."""
    with _replay() as (tool, settings):
        letters = tool.choose(settings, topic, reason, _ms(since), _ms(until), limit)
        _print(tool.show_lines(letters, settings, as_json=as_json))


@replay.command("resubmit")
def replay_resubmit(
    *,
    topic: OfTopic = None,
    reason: Reasons = None,
    since: ArrivedFrom = None,
    until: ArrivedTo = None,
    limit: Limit = None,
    as_json: AsJson = False,
    fix: Annotated[str | None, typer.Option(help="module:function that mends an event.")] = None,
    late_as_is: Annotated[
        bool, typer.Option("--late-as-is", help="Also late events, which the rollup adds unless the archive lost them.")
    ] = False,
    send: Annotated[bool, typer.Option("--send/--dry-run", help="Send; or only say what would be done.")] = False,
) -> None:
    """Send events again under their ids, which counts none twice; says of each what changes and what becomes of it."""
    with _replay() as (tool, settings):
        letters = tool.choose(settings, topic, reason, _ms(since), _ms(until), limit)
        _print(tool.resubmit_lines(letters, settings, fix=fix, late_as_is=late_as_is, send=send, as_json=as_json))


@contextlib.contextmanager
def _replay() -> Iterator[tuple[ModuleType, Settings]]:
    """The module that does it, and where the topics are."""
    with _plain_errors():
        os.environ.update(Stack.attach(stack_home()).environment())
        # Late, as in `run`.
        from tools.replay import commands  # noqa: PLC0415

        try:
            yield commands, Settings()
        except commands.ERRORS as error:
            raise PartError(str(error)) from error


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


@app.command()
def topics(
    action: Annotated[Literal["check", "mend", "accept"], typer.Argument()] = "check",
    name: Annotated[list[str] | None, typer.Argument(help="With accept: differences, as check prints them.")] = None,
) -> None:
    """Hold Kafka's topics against what the product needs of them; `mend` sets what differs."""
    with _plain_errors():
        os.environ.update(Stack.attach(stack_home()).environment())
        # Late, as in `run`.
        from tools.topics import app as tool  # noqa: PLC0415

        tool([action, *(name or [])])


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


def main() -> None:
    """Run the command line. Where a terminal lacks a letter it shows a question mark, and no command fails of it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
