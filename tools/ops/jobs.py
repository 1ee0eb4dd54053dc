"""What jobs leave behind on a cluster: results that stop a JobManager, and savepoints that may go."""

from typing import Annotated

import typer

from tools.ops.operating import operating

app = typer.Typer(no_args_is_help=True, help="Look after what jobs leave behind on a cluster.")


@app.command()
def results() -> None:
    """Complete the results of jobs that failed before they ran, which would end a JobManager at its start.

    FLINK_CONF_DIR says where Flink's configuration is. `python -m tools.job_results COMMAND` does the same and then
    becomes COMMAND, for the start of a JobManager.
    """
    from tools.job_results import main

    raise typer.Exit(main([]))


@app.command()
def savepoints(
    newest: Annotated[str, typer.Argument(help="The path of the savepoint to keep, s3://.../savepoint-...")],
) -> None:
    """Print the savepoints beside this one that are older, the oldest first. Nothing is removed."""
    from tools.savepoints import older_than

    with operating() as settings:
        for path in older_than(newest, settings.s3):
            typer.echo(path)
