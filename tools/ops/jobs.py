"""Commands for what jobs leave behind on a cluster: results that stop a JobManager, and old savepoints."""

from typing import Annotated

import typer

from tools.ops.operating import operating

app = typer.Typer(no_args_is_help=True, help="Complete results and list savepoints that jobs leave on a cluster.")


@app.command()
def results() -> None:
    """Complete the results of jobs that failed before they ran. With such results a JobManager cannot start.

    FLINK_CONF_DIR says where Flink's configuration is. `python -m tools.job_results COMMAND` does the same and then
    replaces itself by COMMAND, which starts the JobManager.
    """
    from tools.job_results import main

    raise typer.Exit(main([]))


@app.command()
def savepoints(
    newest: Annotated[str, typer.Argument(help="The path of the savepoint to keep, s3://.../savepoint-...")],
) -> None:
    """Print the older savepoints in the folder of this one, the oldest first. The command removes nothing."""
    from tools.savepoints import older_than

    with operating() as settings:
        for path in older_than(newest, settings.s3):
            typer.echo(path)
