"""Runs the operators' commands on the local stack: the same functions, with the stack's environment."""

import copy
import functools
import os
from collections.abc import Callable
from typing import Any

import typer

from tools.cli.attached import attached


def pointed_at_stack(commands: typer.Typer) -> typer.Typer:
    """A copy of these commands. Each first sets the environment of the running stack, and then runs as usual."""
    made = copy.copy(commands)
    made.registered_commands = [copy.copy(one) for one in commands.registered_commands]
    for command in made.registered_commands:
        assert command.callback is not None
        command.callback = _pointed(command.callback)
    made.registered_groups = [copy.copy(one) for one in commands.registered_groups]
    for group in made.registered_groups:
        assert group.typer_instance is not None
        group.typer_instance = pointed_at_stack(group.typer_instance)
    return made


def _pointed(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def pointed(*arguments: Any, **options: Any) -> Any:
        with attached() as stack:
            os.environ.update(stack.environment())
        return command(*arguments, **options)

    return pointed
