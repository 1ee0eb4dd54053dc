"""The command that compares Kafka's topics with what the product needs.

Jobs make the same comparison when they are submitted, and ingest makes it for its readiness.
"""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tools.ops.operating import end_with, operating

if TYPE_CHECKING:
    from schemas.topic_differences import Difference

app = typer.Typer()


@app.command()
def topics(
    action: Annotated[
        Literal["check", "mend", "accept"], typer.Argument(help="`mend` and `accept` check again afterwards.")
    ] = "check",
    name: Annotated[
        list[str] | None,
        typer.Argument(
            help="Only for `accept`: names of differences as `check` prints them, 'view-events retention.bytes=1000'."
        ),
    ] = None,
) -> None:
    """Compare Kafka's topics with what the product needs. The exit code is 1 if a difference can make counts wrong.

    `check` prints a line for each difference, with its remedy. `mend` sets different configurations to the values with
    which the product creates topics. `accept` accepts differences by name, for all processes, until the topic changes
    again.
    """
    if (action == "accept") != bool(name):
        raise typer.BadParameter("give names of differences with `accept`, and only with it", param_hint="NAME")
    from connectors.installation import accept, found_differences
    from connectors.kafka_admin import TopicMismatchError, alter_topics

    with operating(TopicMismatchError, kafka=True) as settings:
        found = found_differences(settings)
        if action == "mend":
            changes = [one.alter for one in found if one.alter is not None]
            alter_topics(settings.kafka, changes)
            for topic, key, value in changes:
                typer.echo(f"set    topic {topic}: {key}={value}")
        elif name:
            known = {one.name for one in found if one.name}
            unknown = [one for one in name if one not in known]
            if unknown:
                end_with(f"there is no difference {unknown[0]}; there are: {', '.join(sorted(known)) or 'none'}")
            accept(settings, name)
        if action != "check":
            found = found_differences(settings)
    typer.echo(report(found))
    if any(one.needed for one in found):
        raise typer.Exit(1)


def report(found: "list[Difference]") -> str:
    """A line for each difference. Differences with which jobs and ingest do not run come first."""
    ranked = sorted(found, key=lambda one: not one.needed)
    lines = [f"{'WRONG' if one.needed else 'note '}  {one.line}" for one in ranked]
    return "\n".join(lines) if lines else "the topics are as they should be"
