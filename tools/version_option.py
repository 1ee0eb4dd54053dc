"""The option `--version` of a command line. Knows the version's one source, and no command."""

from typing import Annotated

import typer

from settings.version import VERSION


def add_version_option(app: typer.Typer) -> None:
    """Add the option `--version`, typed before any command. It prints this code's version, and exits with code 0."""

    @app.callback()
    def _before_any_command(
        version: Annotated[
            bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
        ] = False,
    ) -> None:
        pass


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"view-counts {VERSION}")
        raise typer.Exit
