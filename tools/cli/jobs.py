"""Commands that submit jobs to the local stack, and a command that runs Flink's own command line."""

import os
import shlex
from collections.abc import Iterable
from typing import Annotated

import typer

from schemas.jobs import AUDIT, COUNT, ROLLUP, Job
from settings import Settings
from tools.cli.attached import attached
from tools.stack import PartError, Stack
from tools.stack.layout import repository
from tools.stack.machine.ports import HOST
from tools.submitted import keep, kept
from tools.terminal import console
from tools.upgrade import Plan, UpgradeError
from tools.upgrade import upgrade as upgrade_job
from udfs.logic.stream.kept_settings import ACCEPT, SettingsRefusedError, of_state

# A rollup and an audit end by themselves at their deadline, so the command waits a little longer.
AFTER_DEADLINE_S = 120.0

app = typer.Typer()
AcceptSettings = Annotated[
    bool,
    typer.Option(
        "--accept-settings",
        help="Accept, once, state or history that does not say with which settings it was made.",
    ),
]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def upgrade(
    context: typer.Context,
    *,
    parallelism: Annotated[
        int | None, typer.Option(help="Parallelism of the new job; by default the configured one.", min=1)
    ] = None,
    accept_settings: AcceptSettings = False,
) -> None:
    """Replace the running count job by this code: check it, stop with savepoint, start from it, check the ledger.

    Further arguments are passed to the new job. If the new job does not run, the old job is started again.
    """
    with attached() as stack:
        jobs = [job for job, name in stack.unfinished_jobs().items() if name == COUNT.name]
        if len(jobs) != 1:
            raise PartError(f"{len(jobs)} jobs called {COUNT.name} run, and there must be one; see `vc flink list`")
        from connectors.cassandra import connect, migrate
        from connectors.installation import ensure_topics
        from connectors.kafka_admin import TopicMismatchError
        from tools.recount import Store, end_offsets
        from udfs.sinks.kept_settings import check_upgrade

        cassandra = Settings().cassandra.model_copy(update={"hosts": HOST, "port": stack.ports["cassandra"]})
        # Migrations come before anything is stopped. They only add to the tables, so the old code can still use them.
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
        # --accept-settings is not kept: it was needed once.
        _keep_submitted(stack, at_parallelism, context.args)
        console.print(f"the ledger holds each of {done.records:,} records once, and every row balances")
        _name_old_savepoints(stack, done.savepoint)


@app.command()
def rollup(*, accept_settings: AcceptSettings = False) -> None:
    """Count what was archived since the last rollup into history and the tables of hours, days and totals."""
    with attached() as stack:
        typer.echo(roll_up(stack, *([ACCEPT] if accept_settings else [])))


@app.command()
def audit(
    *,
    repair: Annotated[
        bool, typer.Option(help="Correct wrong rows in Cassandra; without it only print what is wrong.")
    ] = False,
    hours: Annotated[
        int | None, typer.Option(help="Compare what was viewed within this number of hours; 168 if not given.", min=1)
    ] = None,
    recent: Annotated[
        bool, typer.Option(help="Compare only the days of these hours, and no totals against their days.")
    ] = False,
) -> None:
    """Compare the counts of the stream, of history and of the tables; fails when something is wrong."""
    options = [
        *(["--repair"] if repair else []),
        *([] if hours is None else ["--hours", str(hours)]),
        *(["--recent"] if recent else []),
    ]
    with attached() as stack:
        typer.echo(_run_to_its_end(stack, AUDIT, *options))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def flink(context: typer.Context) -> None:
    """Run Flink's own command line against this stack: `vc flink list`, `vc flink savepoint JOB`."""
    with attached() as stack:
        typer.echo(stack.flink(*context.args))


def ensure_job(stack: Stack, title: str, job: Job, *flink_arguments: str) -> None:
    """Submit a job, unless it runs again already because the cluster has restored it."""
    if job.name in stack.unfinished_jobs().values():
        console.print(f"         the {title} job goes on where it was")
    else:
        submitted = stack.flink_run([*flink_arguments, "-py", job.file])
        console.print(f"         the {title} job is submitted: {submitted}")
        if job == COUNT:
            _keep_submitted(stack, [], [])


def roll_up(stack: Stack, *options: str) -> str:
    """Run the rollup to its end, and return what it printed."""
    return _run_to_its_end(stack, ROLLUP, *options)


def _run_to_its_end(stack: Stack, job: Job, *options: str) -> str:
    """Run a batch job to its end, and return what it printed. It gets one slot, which the other jobs leave free."""
    limit_s = Settings().history.deadline_s + AFTER_DEADLINE_S
    return stack.flink("run", "-p", "1", "-py", job.file, *options, timeout_s=limit_s)


def _plan(stack: Stack, running: str, at_parallelism: list[str], own: list[str]) -> Plan:
    """How the new job is checked and started, and how the running job is started again."""
    old = kept(stack.layout.submitted)
    widest = max(
        (vertex["parallelism"] for vertex in (stack.flink_rest(f"/jobs/{running}") or {}).get("vertices", ())),
        default=None,
    )
    as_it_was = [] if widest is None else ["-p", str(widest)]

    def go_back(savepoint: str) -> str:
        if old is None:
            return stack.flink_run(["-s", savepoint, *as_it_was, "-py", COUNT.file])
        arguments, variables = old.again(COUNT.file, savepoint, os.environ)
        return stack.flink_run(arguments, variables=variables)

    def keep_output(printed: str) -> str:
        log = stack.layout.log_file("upgrade")
        log.write_text(printed, encoding="utf-8")
        return f" (all that Flink printed is in {log})"

    return Plan(
        check=[*at_parallelism, "-py", COUNT.file, "--check", *own],
        start=lambda savepoint: stack.flink_run(["-s", savepoint, *at_parallelism, "-py", COUNT.file, *own]),
        go_back=go_back,
        by_hand=lambda savepoint: shlex.join(
            ["bin/vc", "flink", "run", "-d", "-s", savepoint, *as_it_was, "-py", COUNT.file]
        ),
        keep_output=keep_output,
    )


def _keep_submitted(stack: Stack, flink_arguments: Iterable[str], own: Iterable[str]) -> None:
    keep(stack.layout.submitted, repository(), list(flink_arguments), list(own))


def _name_old_savepoints(stack: Stack, newest: str) -> None:
    """Print the savepoints of earlier upgrades. They have all seen ids of their time, and nothing removes them."""
    os.environ.update(stack.environment())
    from tools.savepoints import disposal, older_than

    try:
        old = older_than(newest, Settings().s3)
    except OSError as error:
        console.print(f"older savepoints could not be listed: {error}")
        return
    for line in disposal(old):
        console.print(line, soft_wrap=True, highlight=False)
