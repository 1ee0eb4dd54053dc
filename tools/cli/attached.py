"""Finds the stack on which commands work, and prints their errors as plain lines."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import typer

from tools.stack import (
    FlinkCommandError,
    PartError,
    PreflightError,
    Stack,
    StackRunningError,
    SupervisorGoneError,
)
from tools.stack.layout import HOME_VARIABLE, repository
from tools.stack.machine.disk import DiskError, DiskSettingError
from tools.stack.machine.ports import PortSettingError
from tools.stack.supervision import StartError
from tools.upgrade import UpgradeError


def stack_home() -> Path:
    """Where the stack of the command line keeps its data: .local/stack, or VIEW_COUNTS_STACK_HOME."""
    return Path(os.environ.get(HOME_VARIABLE) or repository() / ".local" / "stack")


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Print an error that the user can correct as plain text, without a traceback, and exit with code 1."""
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


@contextlib.contextmanager
def attached() -> Iterator[Stack]:
    """The stack that another terminal runs, for the body of a command; errors as in `plain_errors`."""
    with plain_errors():
        yield Stack.attach(stack_home())
