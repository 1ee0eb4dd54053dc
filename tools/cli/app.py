"""Joins all commands of the local stack to one program."""

import typer

from tools.cli import jobs, parts, running
from tools.cli.operations import pointed_at_stack
from tools.ops.app import app as operators
from tools.terminal import show_any_letter
from tools.version_option import add_version_option

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run and operate the local stack: everything that counts views, on this machine.",
)
add_version_option(app)
for _commands in (running.app, jobs.app, parts.app, pointed_at_stack(operators)):
    app.add_typer(_commands)


def main() -> None:
    """Run the command line."""
    show_any_letter()
    app()
