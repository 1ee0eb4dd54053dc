"""`python -m tools.audit_demo`: runs the demo, prints what was compared, and exits with 1 if anything is wrong."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tools.audit_demo.audits import SUMS, Audit
from tools.audit_demo.rows import WHATS
from tools.audit_demo.scenario import Result, Scenario, run

SHOWN_MAX = 20

console = Console(highlight=False)


def main(
    *,
    events: Annotated[int, typer.Option(min=100_000, help="How many events to send.")] = 2_000_000,
    events_per_second: Annotated[float, typer.Option(min=1, help="The rate, while nothing is being killed.")] = 20_000,
    hours: Annotated[int, typer.Option(min=2, max=100, help="Over how many hours of event time to spread them.")] = 5,
    kills: Annotated[int, typer.Option(min=0, help="How often to kill the TaskManager while the stream counts.")] = 2,
    errors: Annotated[int, typer.Option(min=1, help="How many errors of each kind to plant.")] = 10,
    seed: Annotated[int, typer.Option(help="The seed of events and errors.")] = 1,
) -> None:
    """Count hours by stream and batch, kill both with -9, and audit: first the right counts, then planted errors."""
    home = Path(tempfile.mkdtemp(prefix="audit-demo-"))
    scenario = Scenario(
        home=home,
        events=events,
        events_per_second=events_per_second,
        hours=hours,
        kills=kills,
        errors_of_each=errors,
        seed=seed,
    )
    result = run(scenario, lambda line: console.print(f"  {line}", soft_wrap=True, markup=False))
    show(result)
    if result.findings:
        console.print(f"the data and logs of the run are kept in {home}")
        raise typer.Exit(1)
    shutil.rmtree(home, ignore_errors=True)


def show(result: Result) -> None:
    """Print the audits, the comparisons, the first differences and the closing line."""
    audits = Table("audit", *SUMS, title="what the audits found in minutes", title_justify="left")
    for name, found in result.audits.items():
        audits.add_row(name, *(f"{found.sums[of]:,}" for of in SUMS))
    others = Table("wrong, repaired", *result.audits, title="and in sums and the ledger", title_justify="left")
    for what in WHATS:
        each = (f"{found.wrong.get(what, '-')}, {found.repaired.get(what, '-')}" for found in result.audits.values())
        others.add_row(what, *each)
    console.print(audits)
    console.print(others)
    compared = Table("compared with the sender's record", "rows", "wrong", title_justify="left")
    for comparison in result.comparisons:
        compared.add_row(comparison.name, f"{comparison.rows:,}", str(len(comparison.findings)))
    console.print(compared)
    planted = Counter([*(error.kind.value for error in result.planted), *(row.name for row in result.planted_rows)])
    console.print("planted: " + ", ".join(f"{number} x {kind}" for kind, number in planted.items()))
    for kill in result.kills:
        console.print(
            f"kill -9 {kill.part} after {kill.events_sent:,} events, counted on after {kill.recovered_after_s} s"
        )
    for finding in result.findings[:SHOWN_MAX]:
        console.print(str(finding), markup=False)
    if len(result.findings) > SHOWN_MAX:
        console.print(f"... and {len(result.findings) - SHOWN_MAX} more")
    console.print(closing_line(result), markup=False, soft_wrap=True)


def closing_line(result: Result) -> str:
    """The result in one line."""
    first, found, repaired, last = result.audits.values()
    planted = len(result.planted) + len(result.planted_rows)
    return (
        f"audit: {_wrong(first)} wrong of {first.sums['compared']:,} cells, and of sums and the ledger, as counted; "
        f"{_wrong(found)} of {planted} planted errors found; {repaired.sums['repaired']} cells and "
        f"{sum(repaired.repaired.values())} rows repaired; then {_wrong(last)} wrong, {last.sums['late']} late; "
        f"{len(result.findings)} findings against the sender's record"
    )


def _wrong(one: Audit) -> int:
    """How many cells of minutes and rows of other tables were wrong."""
    return one.sums["wrong"] + sum(one.wrong.values())


if __name__ == "__main__":
    typer.run(main)
