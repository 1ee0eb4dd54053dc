"""Metadata of videos, published from a file."""

from typing import Annotated

import typer

from tools.ops.operating import end_with, operating

app = typer.Typer()


@app.command()
def metadata(
    file: Annotated[typer.FileBinaryRead, typer.Argument(help="Lines of JSON; - for standard input.")],
) -> None:
    """Publish metadata of videos: video_id, title, channel_id, channel_name and created_at in each line."""
    from tools.metadata import BadLineError, publish, read_lines

    with operating(kafka=True) as settings:
        try:
            typer.echo(f"{publish(settings.kafka, read_lines(file))} videos published")
        except BadLineError as error:
            end_with(f"{file.name}: {error}")
