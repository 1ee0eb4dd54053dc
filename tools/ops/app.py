"""Joins all commands of operators to one program."""

import typer

from tools.ops import (
    accounts,
    balancer,
    erasure,
    history,
    imports,
    jobs,
    keys,
    metadata,
    replay,
    script,
    topics,
    viewers,
)
from tools.terminal import show_any_letter

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Operate an installation. VIEW_COUNTS_* variables say where it runs (docs/operations.md).",
)
for _commands in (viewers, erasure, metadata, topics, accounts, imports, balancer, script):
    app.add_typer(_commands.app)
app.add_typer(keys.app, name="keys")
app.add_typer(replay.app, name="replay")
app.add_typer(history.app, name="history")
app.add_typer(imports.kept, name="imports")
app.add_typer(jobs.app, name="jobs")


def main() -> None:
    """Run the command line."""
    show_any_letter()
    app(prog_name="python -m tools.ops")
