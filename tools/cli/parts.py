"""Commands that show and control an existing stack: its parts, its logs, its environment, its data."""

import contextlib
import shlex
import shutil
import signal
from typing import Annotated

import typer
from rich.table import Table

from tools.cli.attached import attached, plain_errors, stack_home
from tools.stack import PartError, Stack, StackOptions, StackRunningError, SupervisorGoneError
from tools.stack.parts import PARTS_BY_NAME
from tools.stack.stack import follow, statuses_as_json
from tools.terminal import console

app = typer.Typer()
Name = Annotated[str, typer.Argument(help=f"One of: {', '.join(PARTS_BY_NAME)}.")]


@app.command()
def down() -> None:
    """Stop what `up` or `run` started in another terminal."""
    with attached() as stack:
        stack.stop()


@app.command()
def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array, with ports and pids.")] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Show the memory of each part, and its budget.")] = False,
) -> None:
    """Show every part: state, process id, ports. Exit code 1 unless all are ready."""
    with attached() as stack:
        statuses = stack.status()
    if as_json:
        typer.echo(statuses_as_json(statuses))
    elif memory:
        table = Table("part", "MiB (PSS)", "budget in MiB", box=None)
        for name, mib in stack.memory_mib().items():
            table.add_row(name, f"{mib:.0f}", str(PARTS_BY_NAME[name].memory_mib))
        console.print(table)
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
    lines: Annotated[int, typer.Option("-n", help="Number of lines from the end.", min=1)] = 100,
    following: Annotated[bool, typer.Option("-f", "--follow", help="Print new lines as they come.")] = False,
) -> None:
    """Print the log of a part; works for a stopped stack too."""
    with plain_errors():
        stack = Stack(StackOptions(home=stack_home()))
        if name not in PARTS_BY_NAME:
            raise PartError(f"there is no part {name}; the parts are {', '.join(PARTS_BY_NAME)}")
        typer.echo(stack.logs(name, lines))
        if following:
            with contextlib.suppress(KeyboardInterrupt):
                for line in follow(stack.layout.log_file(name)):
                    typer.echo(line, nl=False)


@app.command()
def restart(name: Name) -> None:
    """Stop a part by a signal that lets it finish, start it, and wait until it is ready."""
    with attached() as stack:
        stack.restart(name)


@app.command()
def kill(
    name: Name,
    *,
    signal_number: Annotated[int, typer.Option("--signal", "-s", help="Which signal to send.")] = signal.SIGKILL,
) -> None:
    """Kill a part's process, by default with -9; it is started again by itself."""
    with attached() as stack:
        typer.echo(stack.kill(name, signal_number))


@app.command()
def environment() -> None:
    """Print the environment variables with which a program uses this stack, for `eval`."""
    with attached() as stack:
        for name, value in stack.environment().items():
            typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def clean_data() -> None:
    """Delete all data and logs of the stopped stack."""
    home = stack_home()
    with plain_errors():
        try:
            Stack.attach(home)
        except SupervisorGoneError:
            shutil.rmtree(home, ignore_errors=True)
        else:
            raise StackRunningError("the stack runs: stop it first, with Ctrl-C or `make down`")
