"""The commands that ask: views, series, top, live, ledger and audit."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.text import Text

from view_counts_client.terminal.asking import AskError, Exit, Found, Query, Reply, Waits, path_of
from view_counts_client.terminal.live import Follow, Update, updates
from view_counts_client.terminal.shown import (
    Form,
    Row,
    as_csv,
    as_json,
    as_table,
    columns_of,
    notes_on,
    plain,
    print_answer,
    rows_of,
    sparkline,
)
from view_counts_client.transport import HttpTransport, Timeouts

DEFAULT_URL = "http://127.0.0.1:8090"
CONNECT_S = 5.0
# A stream of events has a comment every 15 s.
SILENT_S = 25.0
DEADLINE_S = 120.0
# How many videos, and how many numbers, the service gives in one answer.
VIDEOS_AT_ONCE = 500
NUMBERS_AT_ONCE = 2000

Url = Annotated[str, typer.Option(envvar="VC_QUERY", help="The query service.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(envvar="VC_KEY_FILE", exists=True, dir_okay=False, help="A file with the key; or set VC_KEY."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answers as they are, one on each line.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.")]
WaitS = Annotated[float, typer.Option("--wait", min=0, help="Ask again for so many seconds if there is no answer.")]
Kind = Annotated[str | None, typer.Option(help="What is counted; view by default.")]
From = Annotated[str | None, typer.Option("--from", help="RFC 3339, such as 2026-01-31T12:00:00Z, or ms since 1970.")]
To = Annotated[str | None, typer.Option("--to", help="The same. Not included; now by default.")]
# Whatever is asked over: a test puts the application in its place.
open_transport: Callable[[], Any] = lambda: HttpTransport(Timeouts(CONNECT_S, SILENT_S, DEADLINE_S))  # noqa: E731


class Terminal(NamedTuple):
    """What a command asks, and where it prints what."""

    query: Query
    form: Form
    out: Console
    errors: Console

    def show(self, *replies: Reply, rows: Sequence[Row] | None = None) -> None:
        """Print answers, of which these are the rows, or those that they have themselves."""
        answers = [reply.found for reply in replies]
        own = [row for answer in answers for row in rows_of(answer)] if rows is None else rows
        notes = list(dict.fromkeys(note for reply in replies for note in notes_on(*reply)))
        print_answer(answers, own, notes, self.form, self.out, self.errors)

    def remark(self, update: Update) -> None:
        """Print what the service says besides the numbers."""
        if self.form is Form.JSON:
            self.out.file.write(as_json({"event": update.kind, **update.said}))
        else:
            told = ", ".join(f"{name}: {value}" for name, value in update.said.items())
            self.errors.print(Text(plain(f"{update.kind}: {told}"), style="yellow"), soft_wrap=True)


@contextmanager
def _terminal(url: str, key_file: Path | None, as_json: bool, as_csv: bool, wait_s: float) -> Any:
    """A terminal, until the command ends. What fails is one line of the errors, and an exit code."""
    errors = Console(stderr=True)
    transport = open_transport()
    try:
        form = _form(as_json, as_csv)
        query = Query(_checked(url), _key(key_file), transport, Waits(wait_s))
        yield Terminal(query, form, Console(file=sys.stdout), errors)
    except AskError as error:
        errors.print(Text(plain(str(error)), style="red"), soft_wrap=True)
        raise typer.Exit(error.code) from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
    finally:
        transport.close()


def _form(as_json: bool, as_csv: bool) -> Form:
    if as_json and as_csv:
        raise AskError("--json and --csv are given: choose one", Exit.WRONG)
    return Form.JSON if as_json else Form.CSV if as_csv else Form.TABLE


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise AskError(f"--url={url!r} is no URL: begin it with http:// or https://", Exit.WRONG)
    return url


def _key(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("VC_KEY")
    key = file.read_text(encoding="utf-8").strip()
    if not key or len(key.split()) > 1:
        raise AskError(f"--key-file={file} does not have one key: put the key alone into it", Exit.WRONG)
    return key


def views(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO...", help="The videos.")],
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="What is counted. May be given again.")] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    wait: WaitS = 10.0,
) -> None:
    """The totals of videos."""
    named, kind = list(dict.fromkeys(videos)), list(dict.fromkeys(kinds or ["view"]))
    with _terminal(url, key_file, as_json, as_csv, wait) as terminal:
        if len(named) == len(kind) == 1:
            terminal.show(terminal.query.ask(path_of("videos", named[0], "views"), {"kind": kind[0]}))
            return
        each = max(1, min(VIDEOS_AT_ONCE, NUMBERS_AT_ONCE // len(kind)))
        bodies = [{"video_ids": named[at : at + each], "kind": kind} for at in range(0, len(named), each)]
        replies = [terminal.query.ask_about(path_of("videos:batchGet"), body) for body in bodies]
        terminal.show(*replies, rows=[row for reply in replies for row in _by_kind(reply.found)])


def series(
    video: Annotated[str, typer.Argument(help="The video.")],
    kind: Kind = None,
    granularity: Annotated[str | None, typer.Option(help="minute (by default), hour, day and so on.")] = None,
    begin: From = None,
    end: To = None,
    zone: Annotated[str | None, typer.Option(help="Days of this zone, such as Europe/Berlin.")] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    wait: WaitS = 10.0,
) -> None:
    """The views of a video over time."""
    asked = {"kind": kind, "granularity": granularity, "from": begin, "to": end, "zone": zone}
    with _terminal(url, key_file, as_json, as_csv, wait) as terminal:
        reply = terminal.query.ask(path_of("videos", video, "series"), asked)
        terminal.show(reply)
        if terminal.form is Form.TABLE:
            terminal.out.print(sparkline([point.get("views") for point in rows_of(reply.found)], terminal.out.width))


def top(
    kind: Kind = None,
    span: Annotated[str | None, typer.Option(help="hour (by default), minute, trending, clock_hour or day.")] = None,
    country: Annotated[str | None, typer.Option(help="Two letters, with --span=clock_hour or day.")] = None,
    limit: Annotated[int | None, typer.Option(help="How many videos.")] = None,
    at: Annotated[str | None, typer.Option(help="A time within the minute, hour or day.")] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    wait: WaitS = 10.0,
) -> None:
    """The most viewed videos."""
    asked = {"kind": kind, "span": span, "country": country, "limit": _text(limit), "at": at}
    with _terminal(url, key_file, as_json, as_csv, wait) as terminal:
        reply = terminal.query.ask(path_of("top"), asked)
        terminal.show(reply, rows=_placed(reply.found))


def live(
    video: Annotated[str | None, typer.Argument(help="The video; without one, the most viewed videos.")] = None,
    kind: Kind = None,
    every: Annotated[float, typer.Option(min=0.01, help="Seconds between questions where there are no events.")] = 2.0,
    number: Annotated[int | None, typer.Option("--updates", min=1, help="End after so many.")] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    wait: WaitS = 10.0,
) -> None:
    """What is counted now, as it changes, until it is interrupted."""
    follow = Follow.top(kind) if video is None else Follow.video(video, kind)
    with _terminal(url, key_file, as_json, as_csv, wait) as terminal:
        show = _LiveViews(terminal) if video is not None else _LiveTop(terminal)
        done = 0
        for update in updates(terminal.query, follow, every):
            if update.kind == follow.kind:
                show(update.said)
                done += 1
            else:
                terminal.remark(update)
            terminal.out.file.flush()
            if done == number:
                return


def ledger(
    begin: From = None,
    end: To = None,
    granularity: Annotated[str | None, typer.Option(help="minute, hour or day, if the service knows them.")] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    wait: WaitS = 10.0,
) -> None:
    """What became of every event. Ends with 4 if an event has no fate, or two."""
    asked = {"from": begin, "to": end, "granularity": granularity}
    with _terminal(url, key_file, as_json, as_csv, wait) as terminal:
        reply = terminal.query.ask(path_of("ledger"), asked)
        total = reply.found.get("total") or {}
        rows = rows_of(reply.found)
        # A sum among the rows of a CSV would be counted with them.
        terminal.show(reply, rows=rows if terminal.form is Form.CSV else [*rows, {"start": "sum", **total}])
        if total.get("balanced") is False:
            raise AskError("not every event has exactly one fate: report it, with these minutes", Exit.NOT_EXACT)


def audit(
    begin: From = None,
    end: To = None,
    limit: Annotated[int | None, typer.Option(help="The newest so many hours.")] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    wait: WaitS = 10.0,
) -> None:
    """What audits have found, by hour viewed. Ends with 4 if a wrong number was not set right."""
    with _terminal(url, key_file, as_json, as_csv, wait) as terminal:
        reply = terminal.query.ask(path_of("audits"), {"from": begin, "to": end, "limit": _text(limit)})
        terminal.show(reply)
        findings = reply.found.get("findings")
        if findings and terminal.form is Form.TABLE:
            terminal.out.print()
            terminal.out.print(as_table(findings, columns_of(findings)))
        if reply.headers.get("view-counts-audit", "").startswith("wrong"):
            raise AskError("audits found wrong numbers that are not set right: see docs/history.md", Exit.NOT_EXACT)


class _LiveViews:
    """Prints a line for each update of a video."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._views: list[int] = []
        self._is_first = True

    def __call__(self, update: Found) -> None:
        terminal = self._terminal
        if terminal.form is not Form.TABLE:
            _print_plainly(terminal, [update], update, is_first=self._is_first)
            self._is_first = False
            return
        known = update.get("views")
        if isinstance(known, int):
            self._views = [*self._views, known][-41:]
        grown = [after - before for before, after in zip(self._views, self._views[1:], strict=False)]
        plus = f"+{grown[-1]:,}" if grown else ""
        terminal.out.print(Text(f"{known if known is not None else '?':>14,} {plus:>10}  {sparkline(grown)}"))


class _LiveTop:
    """Prints the list for each update."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._is_first = True

    def __call__(self, update: Found) -> None:
        rows = _placed(update)
        if self._terminal.form is Form.TABLE:
            self._terminal.show(Reply(update, {}), rows=rows)
            return
        _print_plainly(self._terminal, rows, update, is_first=self._is_first)
        self._is_first = False


def _print_plainly(terminal: Terminal, rows: Sequence[Row], update: Found, *, is_first: bool) -> None:
    if terminal.form is Form.JSON:
        terminal.out.file.write(as_json(update))
    else:
        terminal.out.file.write(as_csv(rows, columns_of(rows), head=is_first))


def _by_kind(answer: Found) -> list[Row]:
    """A row for each video and kind, of an answer about many."""
    return [{"video_id": one["video_id"], **row} for one in answer.get("videos", ()) for row in one.get("kinds", ())]


def _placed(answer: Found) -> list[Row]:
    """The rows of a list, each with its place."""
    return [{"place": place, **row} for place, row in enumerate(rows_of(answer), 1)]


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


COMMANDS: Mapping[str, Callable[..., None]] = {
    "views": views,
    "series": series,
    "top": top,
    "live": live,
    "ledger": ledger,
    "audit": audit,
}
