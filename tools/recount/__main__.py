"""`python -m tools.recount`: recounts an installation's topic and compares, while nothing is being written.

The exit code is 1 if anything is wrong. The numbers of the rules are options and do not come from the settings, so that
a wrong setting is found.
"""

from typing import Annotated

import typer

from tools.recount.answers import Answers, compare_hours
from tools.recount.compare import Report, by_hour, compare_cells, compare_ledger, compare_rejected
from tools.recount.rules import FATES, MINUTE_MS, Recount, Rules
from tools.recount.store import Store
from tools.recount.topic import read_blocked, read_rejected, read_topic

SHOWN_MAX = 20
VIDEOS_OVER_HTTP = 100
_DEFAULT = Rules()


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    kafka: Annotated[str, typer.Option(help="Kafka's host:port.")] = "127.0.0.1:9092",
    cassandra: Annotated[str, typer.Option(help="Cassandra's host:port.")] = "127.0.0.1:9042",
    query: Annotated[str, typer.Option(help="The URL of the query service.")] = "http://127.0.0.1:8090",
    keyspace: Annotated[str, typer.Option(help="The keyspace of the tables.")] = "view_counts",
    topic: Annotated[
        str, typer.Option(help="The events topic. Topics of its name with -late and -dead-letter are read, too.")
    ] = "view-events",
    blocked: Annotated[str, typer.Option(help="The topic of the block list.")] = "blocked-viewers",
    salts: Annotated[int, typer.Option(help="The number of salts of the topic.")] = _DEFAULT.salts,
    partitions: Annotated[int, typer.Option(help="The number of partitions of the topic.")] = _DEFAULT.partitions,
    lateness_minutes: Annotated[int, typer.Option(help="How long after its end a minute takes events.")] = (
        _DEFAULT.lateness_ms // MINUTE_MS
    ),
    generation_minutes: Annotated[int, typer.Option(help="The length of a generation of append time.")] = (
        _DEFAULT.generation_ms // MINUTE_MS
    ),
    clock_ahead_minutes: Annotated[
        int, typer.Option(help="How far the append time of a record may be after its batch was made.")
    ] = _DEFAULT.clock_ahead_ms // MINUTE_MS,
) -> None:
    """Count the topic again by other code, and compare every minute, every fate and the services' answers."""
    rules = Rules(
        salts,
        partitions,
        lateness_minutes * MINUTE_MS,
        _DEFAULT.future_skew_ms,
        generation_minutes * MINUTE_MS,
        clock_ahead_minutes * MINUTE_MS,
    )
    recount = Recount(rules, read_blocked(kafka, blocked))
    for partition, offset, timestamp_ms, key, value in read_topic(kafka, topic):
        recount.record(partition, offset, timestamp_ms, key, value)
    report = Report()
    host, port = cassandra.rsplit(":", 1)
    with Store(host, int(port), keyspace) as store:
        found, ledger = store.cells(), store.ledger()
    report.add("minute", len(recount.cells.keys() | found.keys()), compare_cells(recount.cells, found))
    hours, found_hours = by_hour(recount.cells), by_hour(found)
    report.add("hour", len(hours.keys() | found_hours.keys()), compare_cells(hours, found_hours, "hour"))
    report.add("ledger", len(ledger), compare_ledger(recount.ledger, ledger))
    for name, letters in (("late", recount.late), ("dead-letter", recount.dead)):
        report.add(name, len(letters), compare_rejected(name, letters, read_rejected(kafka, f"{topic}-{name}", topic)))
    with Answers(query) as answers:
        report.add(
            "hour over HTTP",
            *compare_hours(answers, recount.cells, top=VIDEOS_OVER_HTTP, sampled=VIDEOS_OVER_HTTP),
        )
    for finding in report.findings[:SHOWN_MAX]:
        typer.echo(str(finding))
    total = {name: sum(tally[name] for tally in ledger.values()) for name in ("received", *FATES)}
    compared = ", ".join(f"{report.wrong(name)} wrong of {count} ({name})" for name, count in report.compared.items())
    typer.echo(f"{compared}; received {total['received']} = " + " + ".join(f"{total[name]} {name}" for name in FATES))
    if report.findings:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
