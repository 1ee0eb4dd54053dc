"""`python -m tools.exact`: runs the scenarios, prints what was compared, and exits with 1 if anything is wrong."""

import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tools.exact.harm import PARTS
from tools.exact.scenario import Result, Scenario, run
from tools.recount.rules import FATES

SHOWN_MAX = 20

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Mode(StrEnum):
    """Which load is sent."""

    HTTP = "http"
    CREATETIME = "createtime"
    BOTH = "both"


@app.command()
def main(
    mode: Annotated[
        Mode,
        typer.Option(help="Send over HTTP in real time, or directly to a topic whose record timestamps are trusted."),
    ] = Mode.BOTH,
    events: Annotated[int, typer.Option(min=1000, help="How many events to send in each mode.")] = 2_000_000,
    events_per_second: Annotated[float, typer.Option(min=1, help="The rate, while nothing is being killed.")] = 10_000,
    kills: Annotated[
        str,
        typer.Option(help="The parts to kill, in this order, separated by commas; yes kills all parts, no kills none."),
    ] = "yes",
    seed: Annotated[int, typer.Option(help="The seed of the events.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON on standard output.")] = False,
) -> None:
    """Count events while every part is killed with -9, one after the other, and recount them independently."""
    console = Console(stderr=as_json, highlight=False)
    chosen = {"yes": PARTS, "no": ()}.get(kills) if kills in ("yes", "no") else tuple(kills.split(","))
    results = []
    for each in (Mode.HTTP, Mode.CREATETIME) if mode is Mode.BOTH else (mode,):
        home = Path(tempfile.mkdtemp(prefix=f"exact-{each.value}-"))
        try:
            scenario = Scenario(
                mode="http" if each is Mode.HTTP else "createtime",
                home=home,
                events=events,
                events_per_second=events_per_second,
                seed=seed,
                kills=chosen or (),
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        result = run(scenario, lambda line: console.print(f"  {line}"))
        results.append(result)
        show(console, result)
        if result.is_exact:
            shutil.rmtree(home, ignore_errors=True)
        else:
            console.print(f"the data and logs of the run are kept in {home}")
    if as_json:
        sys.stdout.write(json.dumps([as_dict(result) for result in results], default=str) + "\n")
    if not all(result.is_exact for result in results):
        raise typer.Exit(1)


def show(console: Console, result: Result) -> None:
    """Print the table of comparisons, the first differences and the closing line."""
    table = Table(title=f"exact, {result.mode}", title_justify="left")
    table.add_column("compared")
    table.add_column("how many", justify="right")
    for name, compared in result.report.compared.items():
        table.add_row(name, f"{compared:,}")
    console.print(table)
    for kill in result.kills:
        console.print(
            f"kill -9 {kill.part} after {kill.events_sent:,} events, counted on after {kill.recovered_after_s} s"
        )
    console.print(
        "sender: " + ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in result.sender.items())
    )
    for finding in result.report.findings[:SHOWN_MAX]:
        console.print(str(finding), markup=False)
    if len(result.report.findings) > SHOWN_MAX:
        console.print(f"... and {len(result.report.findings) - SHOWN_MAX} more")
    console.print(closing_line(result), markup=False, soft_wrap=True)


def closing_line(result: Result) -> str:
    """The result in one line: how many minutes and hours are wrong, and how many events had which fate."""
    report, fates = result.report, result.fates
    sums = " + ".join(f"{fates.get(name, 0)} {name.replace('_', '-')}" for name in FATES)
    return (
        f"{result.mode}: {report.wrong('minute')} wrong of {report.compared.get('minutes', 0)} minutes, "
        f"{report.wrong('hour')} wrong of {report.compared.get('hours', 0)} hours, "
        f"{len(report.findings)} findings in all; received {fates.get('received', 0)} = {sums}"
    )


def as_dict(result: Result) -> dict[str, object]:
    """The result for programs."""
    return {
        "mode": result.mode,
        "exact": result.is_exact,
        "compared": result.report.compared,
        "findings": [str(finding) for finding in result.report.findings],
        "fates": result.fates,
        "kills": [asdict(kill) for kill in result.kills],
        "seconds": result.seconds,
        "sender": result.sender,
    }


if __name__ == "__main__":
    app()
