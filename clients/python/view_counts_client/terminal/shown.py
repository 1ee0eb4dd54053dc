"""What an answer looks like: as a table for people, as JSON, or as CSV. Knows no questions and no network."""

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]
BARS = "▁▂▃▄▅▆▇█"
GAP = " "
SPARKLINE_WIDTH = 80
# What an answer calls its rows.
LISTS = ("points", "videos", "minutes", "hours", "days", "audits", "changes")


class Form(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def rows_of(answer: Row) -> list[Row]:
    """The rows of an answer: its list, or else the answer itself."""
    for name in LISTS:
        if isinstance(answer.get(name), list):
            return [row for row in answer[name] if isinstance(row, dict)]
    return [answer]


def columns_of(rows: Iterable[Row]) -> list[str]:
    """The names of all fields of the rows, save those of which a row has several or fields below."""
    found: dict[str, None] = {}
    for row in rows:
        for name, value in row.items():
            if not isinstance(value, list | dict):
                found.setdefault(name)
    return list(found)


def notes_on(answer: Row, headers: Mapping[str, str]) -> list[str]:
    """Sentences on how far an answer may be trusted. The names of header fields are in small letters."""
    said = []
    status, behind = _field(headers.get("view-counts-status"))
    if status not in {"", "healthy", "idle"}:
        said.append(f"the stream is {status}" + (f", {behind['behind']} s behind" if "behind" in behind else ""))
    audit, found = _field(headers.get("view-counts-audit"))
    if audit == "wrong":
        wrong, repaired, at = (found.get(name, "?") for name in ("wrong", "repaired", "at"))
        said.append(f"the last audit, at {at}, found {wrong} wrong numbers, and {repaired} of them are right now")
    if answer.get("degraded"):
        said.append(f"something is missing: {plain(answer['degraded'])}")
    if "complete_through" in answer:
        complete = answer["complete_through"]
        said.append("nothing is complete yet" if complete is None else f"complete through {complete}")
    if waiting := answer.get("waiting"):
        said.append(
            f"{waiting.get('events')} events wait in overflow since {waiting.get('since')}: not all are counted"
        )
    for span in answer.get("missing") or ():
        begin = span.get("from") or "the beginning"
        said.append(f"records are missing from {begin} to {span.get('to')}: there may have been more")
    if answer.get("exact") is False:
        said.append(f"not exact: {answer.get('not_exact_because')}")
    return said


def _field(text: str | None) -> tuple[str, dict[str, str]]:
    """A structured header field with one member (RFC 9651): its value, and its parameters."""
    value, *others = (text or "").split(";")
    pairs = (other.strip().partition("=") for other in others)
    return value.strip(), {name: said.strip('"') for name, _, said in pairs}


def sparkline(values: Sequence[int | None], width: int = SPARKLINE_WIDTH) -> str:
    """The values as a line of bars, of which the highest is the most; neighbours are added if there are too many."""
    each = max(1, -(-len(values) // width))
    groups = [[value for value in values[at : at + each] if value is not None] for at in range(0, len(values), each)]
    sums = [sum(group) if group else None for group in groups]
    most = max((value for value in sums if value is not None), default=0)
    return "".join(GAP if value is None else BARS[_height(value, most)] for value in sums)


def _height(value: int, most: int) -> int:
    # Only 0 has the lowest bar.
    return 0 if value <= 0 else 1 + (value * (len(BARS) - 2)) // most


def as_csv(rows: Sequence[Row], columns: Sequence[str], *, head: bool = True) -> str:
    """The rows as CSV. What is null, or what a row does not have, is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if head:
        writer.writerow(columns)
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def as_json(answer: Row) -> str:
    """The answer on one line, as the service gave it."""
    return json.dumps(answer) + "\n"


def as_table(rows: Sequence[Row], columns: Sequence[str], *, title: str | None = None) -> Table:
    """The rows as a table. Numbers stand to the right."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        is_number = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(shown(row.get(name)) for name in columns))
    return table


def shown(value: Any) -> Text:
    """A value as people read it. Names are strangers' words, and must not give the terminal orders."""
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int):
        return Text(f"{value:,}")
    return Text(plain(_cell(value)))


def print_answer(
    answers: Sequence[Row], rows: Sequence[Row], notes: Sequence[str], form: Form, out: Console, errors: Console
) -> None:
    """Print answers of which these are the rows. CSV has no place for notes, which then go to where errors go."""
    columns = columns_of(rows)
    if form is Form.JSON:
        for answer in answers:
            out.file.write(as_json(answer))
        return
    if form is Form.CSV:
        out.file.write(as_csv(rows, columns))
    elif rows:
        out.print(as_table(rows, columns))
    else:
        out.print("nothing")
    for note in notes:
        (errors if form is Form.CSV else out).print(Text(plain(note), style="dim"), soft_wrap=True)


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def plain(value: Any) -> str:
    """Text without what moves the cursor, changes colours or turns the direction of writing."""
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(f"\\x{ord(one):02x}" if unicodedata.category(one) in {"Cc", "Cf"} else one for one in text)
