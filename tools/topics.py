"""`python -m tools.topics check|mend|accept`: Kafka's topics held against what the product needs of them.

`check` prints a line for each difference, with its remedy. Jobs at their submission and ingest in its readiness make
the same comparison.
"""

import sys
from typing import Annotated

import typer
from confluent_kafka import KafkaException

from connectors.installation import accept, found_differences
from connectors.kafka_admin import TopicMismatchError, alter_topics
from schemas.topic_differences import Difference
from settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


def report(found: list[Difference]) -> str:
    """A line for each difference, those that nobody goes on with first."""
    ranked = sorted(found, key=lambda one: not one.needed)
    lines = [f"{'WRONG' if one.needed else 'note '}  {one.line}" for one in ranked]
    return "\n".join(lines) if lines else "the topics are as they should be"


def _differences(settings: Settings) -> list[Difference]:
    try:
        return found_differences(settings)
    except TopicMismatchError as error:
        sys.exit(str(error))
    except KafkaException as error:
        sys.exit(f"VIEW_COUNTS_KAFKA_BOOTSTRAP_SERVERS={settings.kafka.bootstrap_servers}: {error.args[0].str()}")


def _end_with(found: list[Difference]) -> None:
    typer.echo(report(found))
    if any(one.needed for one in found):
        raise typer.Exit(1)


@app.command()
def check() -> None:
    """Print what differs; exit code 1 when something does that jobs and ingest refuse."""
    _end_with(_differences(Settings()))


@app.command()
def mend() -> None:
    """Set the configurations that differ to what the product creates topics with, then check."""
    settings = Settings()
    changes = [one.alter for one in _differences(settings) if one.alter is not None]
    try:
        alter_topics(settings.kafka.bootstrap_servers, changes)
    except KafkaException as error:
        sys.exit(f"Kafka refuses: {error.args[0].str()}")
    for topic, name, value in changes:
        typer.echo(f"set    topic {topic}: {name}={value}")
    _end_with(_differences(settings))


@app.command("accept")
def accept_command(
    name: Annotated[list[str], typer.Argument(help="As `check` prints it: 'view-events retention.bytes=1000'.")],
) -> None:
    """Accept differences by name, for everybody, until the topic changes again; then check."""
    settings = Settings()
    known = {one.name for one in _differences(settings) if one.name}
    unknown = [one for one in name if one not in known]
    if unknown:
        sys.exit(f"{unknown[0]}: no such difference; there are: {', '.join(sorted(known)) or 'none'}")
    accept(settings, name)
    _end_with(_differences(settings))


if __name__ == "__main__":
    app()
