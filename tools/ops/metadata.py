"""The command that publishes video metadata from a file."""

from typing import Annotated

import typer

from tools.ops.operating import end_with, operating

app = typer.Typer()


@app.command()
def metadata(
    file: Annotated[typer.FileBinaryRead, typer.Argument(help="Lines of JSON; - for standard input.")],
) -> None:
    """Publish video metadata. Each line has video_id, title, channel_id, channel_name and created_at."""
    from tools.metadata import BadLineError, publish, read_lines

    with operating(kafka=True) as settings:
        try:
            typer.echo(f"{publish(settings.kafka, read_lines(file))} videos published")
        except BadLineError as error:
            end_with(f"{file.name}: {error}")
