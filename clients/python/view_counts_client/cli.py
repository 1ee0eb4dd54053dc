"""The command `view-counts`: sends files of events, and asks for counts. It needs the extra `cli`."""

import json
import logging
import os
import random
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from view_counts_client.clock import Clock
from view_counts_client.endpoints import BreakerRules, Endpoints
from view_counts_client.files import BadLine, FileError, FileSource
from view_counts_client.happenings import Expired, Happening, Refused, Retrying, Telling
from view_counts_client.ids import Ids
from view_counts_client.options import Options, checked_endpoints
from view_counts_client.retry import Backoff, RetryBudget
from view_counts_client.sender import Policy, Sender
from view_counts_client.terminal.commands import COMMANDS
from view_counts_client.transport import HttpTransport, Timeouts
from view_counts_client.version import VERSION

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Sends views to View counts, and asks for counts.")
CONSOLE = Console(stderr=True)
EXIT_NOT_ALL = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@app.callback()
def _commands() -> None:
    """Sends views to View counts, and asks for counts."""


for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


@app.command()
def send(
    file: Annotated[Path, typer.Argument(help="Events, one in JSON a line.", exists=True, dir_okay=False)],
    to: Annotated[list[str], typer.Option(envvar="VC_ENDPOINT", help="The service. May be given several times.")],
    expire_after_hours: Annotated[float, typer.Option(help="Older events are not sent: nothing counts them.")] = 144.0,
    batch_events_max: Annotated[int, typer.Option(min=1, help="Events in one request.")] = 5000,
) -> None:
    """Send a file of events, each once. The same command goes on after an interruption.

    The key is in the variable VC_KEY. How far the file was sent stands in FILE.sent, and what was not taken, with the
    reason, in FILE.refused.
    """
    try:
        options = Options(expire_after_s=expire_after_hours * 3600, batch_events_max=batch_events_max)
        urls = checked_endpoints(to)
    except ValueError as error:
        CONSOLE.print(f"{error}", style="red", highlight=False)
        raise typer.Exit(EXIT_USAGE) from None
    try:
        refused, expired = _send(file, urls, options, _Refusals(file.with_name(f"{file.name}.refused")))
    except FileError as error:
        CONSOLE.print(f"{error}", style="red", highlight=False)
        raise typer.Exit(EXIT_USAGE) from None
    except KeyboardInterrupt:
        CONSOLE.print("interrupted: the same command goes on from here")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if refused or expired:
        CONSOLE.print(f"{refused} events were refused and {expired} are too old: see {file}.refused")
        raise typer.Exit(EXIT_NOT_ALL)


def _send(file: Path, urls: list[str], options: Options, refusals: "_Refusals") -> tuple[int, int]:
    """Send a file. Returns how many events of this call were refused, and how many are too old."""
    clock, ids, backoff = Clock(), Ids(), Backoff(options.backoff_first_s, options.backoff_most_s)
    source = FileSource(file, clock, backoff, options.batch_events_max, refusals.bad)
    refusals.lines = source.lines
    tell = Telling(refusals)
    headers = {"user-agent": f"view-counts-client/{VERSION}"}
    if key := os.environ.get("VC_KEY"):
        headers["authorization"] = f"Bearer {key}"
    transport = HttpTransport(Timeouts(options.connect_timeout_s, options.request_timeout_s, options.deadline_s))
    sender = Sender(
        source,
        Endpoints(urls, BreakerRules(options.breaker_failures, options.breaker_first_s, options.breaker_most_s)),
        transport,
        headers=headers,
        policy=Policy(backoff, options.encoding, int(options.expire_after_s * 1000)),
        budget=RetryBudget(
            share=options.retry_share, per_s=options.retries_per_s, most=options.retries_most, now_s=time.monotonic()
        ),
        clock=clock,
        ids=ids,
        tell=tell,
        now_s=time.monotonic,
        random=random.SystemRandom().random,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=CONSOLE) as progress:
            task = progress.add_task(file.name, total=file.stat().st_size, completed=source.sent.offset)
            while (wait_s := sender.step(hurry=True)) is not None:
                progress.update(task, completed=source.sent.offset, description=refusals.trouble or file.name)
                time.sleep(wait_s)
            progress.update(task, completed=source.sent.offset, description=file.name)
    finally:
        source.close()
        transport.close()
    CONSOLE.print(f"{tell.counts.delivered} events delivered, {source.sent.lines} lines of the file settled")
    return tell.counts.refused + refusals.bad_lines, tell.counts.expired


class _Refusals:
    """Writes what was not taken to a file beside the events, and knows why nothing goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines: dict[bytes | str, int] = {}
        self.bad_lines = 0
        self.trouble = ""

    def __call__(self, happening: Happening) -> None:
        match happening:
            case Refused():
                for event, why in happening.events:
                    self._write(self.lines.get(event.event_id), event.line().decode(), f"{why.reason}; {why.remedy}")
            case Expired():
                for event in happening.events:
                    self._write(self.lines.get(event.event_id), event.line().decode(), "too old: nothing counts it")
            case Retrying():
                self.trouble = f"again in {happening.wait_s:.0f} s: {happening.reason:.60}"
                return
            case _:
                pass
        self.trouble = ""

    def bad(self, bad: BadLine) -> None:
        """A line is no event."""
        self.bad_lines += 1
        self._write(bad.line, bad.text, bad.reason)

    def _write(self, line: int | None, event: str, reason: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"line": line, "reason": reason, "event": event}, ensure_ascii=False) + "\n")


def main() -> None:
    """Run the command."""
    # The progress bar says what the log would say.
    logging.getLogger("view_counts_client").setLevel(logging.CRITICAL)
    app()


if __name__ == "__main__":
    main()
