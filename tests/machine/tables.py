"""Cassandra in memory: cells with write times, of which the larger stays, and as much CQL as the product says.

Statements are the product's own texts. Rows are written in two steps, as side by side as they are in truth: whoever is
killed or paused between them leaves some of them.
"""

import collections
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
from cassandra import cqltypes
from cassandra.util import Date

from tests.machine.jobs import step
from tests.machine.register import MemoryRegisters
from tests.support.local_rollup import CQL, KEYS, _Prepared, _rows
from udfs.logic.history.register import Register

Row = dict[str, object]
_TYPES = {
    "text": cqltypes.UTF8Type,
    "bigint": cqltypes.LongType,
    "int": cqltypes.Int32Type,
    "date": cqltypes.SimpleDateType,
    "timestamp": cqltypes.DateType,
}


class Cell(NamedTuple):
    """A value, when it was written in µs, and when it expires in seconds."""

    value: object
    written_us: int
    expires_s: float


class Tables:
    """Tables by name, of these rows by primary key, of these cells by column.

    `ttl_s` is the time to live of rows of a table, where they have one. `now_s` is the world's clock: the time of a
    write that says none.
    """

    def __init__(self, now_s: Callable[[], float], ttl_s: dict[str, float]) -> None:
        self.rows: dict[str, dict[tuple[object, ...], dict[str, Cell]]] = collections.defaultdict(dict)
        self._now_s = now_s
        self._ttl_s = ttl_s
        # Of one clock: no two writes of a process have the same time.
        self._last_us = 0

    def write_all(self, session: Any, statements: Sequence[tuple[object, object]], _at_once: int, *_: object) -> None:
        """Stands for connectors.acknowledged.write_all."""
        at_us = session.timestamp_generator()
        rows = [row for statement in statements for row in _rows(*statement)]
        for half in (rows[::2], rows[1::2]):
            if half:
                step(f"{len(half)} rows: {half[0][0].split(' (')[0].removeprefix('INSERT INTO ')}")
                for text, values in half:
                    self.insert(text, values, at_us)

    def insert(self, text: str, values: Sequence[object], at_us: int | None = None) -> None:
        """A row; of each cell the later write stays, and of two at once the larger value."""
        parsed = _insert(text)
        found = dict(zip(parsed.columns, values, strict=False))
        row = {name: _value(parsed.table, name, value) for name, value in found.items()}
        if parsed.has_timestamp:
            written_us = int(str(values[-1]))
        elif at_us is not None:
            written_us = at_us
        else:
            self._last_us = written_us = max(self._last_us + 1, int(self._now_s() * 1e6))
        expires_s = self._now_s() + self._ttl_s.get(parsed.table, float("inf"))
        key = tuple(row.pop(name) for name in KEYS[parsed.table])
        cells = self.rows[parsed.table].setdefault(key, {})
        for name, value in row.items():
            old = cells.get(name)
            if (
                old is None
                or written_us > old.written_us
                or (written_us == old.written_us and str(value) > str(old.value))
            ):
                cells[name] = Cell(value, written_us, expires_s)

    def alive(self, table: str) -> Iterator[Row]:
        """Every row with what has not expired, key and `written` of views included."""
        for key, cells in self.rows[table].items():
            left = {name: cell.value for name, cell in cells.items() if cell.expires_s > self._now_s()}
            if left:
                written = {f"writetime({name})": cell.written_us for name, cell in cells.items()}
                yield dict(zip(KEYS[table], key, strict=True)) | written | left

    def select(self, text: str, values: Sequence[object]) -> list[Any]:
        """Of one table: columns, sums of groups, write times; conditions, an order and a limit."""
        parsed = _select(text)
        asked = iter(values)
        wanted = [(name, operator, _plain(next(asked))) for name, operator in parsed.conditions]
        rows = [
            row
            for row in self.alive(parsed.table)
            if all(_holds(row.get(name), operator, value) for name, operator, value in wanted)
        ]
        rows.sort(key=lambda row: tuple(str(row.get(name)) for name in parsed.order or KEYS[parsed.table]))
        if parsed.descending:
            rows.reverse()
        if parsed.groups:
            grouped: dict[tuple[object, ...], list[Row]] = {}
            for row in rows:
                grouped.setdefault(tuple(row[name] for name in parsed.groups), []).append(row)
            rows = [of[0] | {f"sum({name})": _sum(of, name) for name in of[0]} for of in grouped.values()]
        if parsed.columns == ("*",):
            return [SimpleNamespace(**row) for row in rows]
        made = [parsed.made._make(_driver_value(row.get(name)) for name in parsed.columns) for row in rows]
        return made[: parsed.limit]


class Found(list[Any]):
    """What the driver gives."""

    def one(self) -> Any:
        """The first row, or None."""
        return self[0] if self else None


class Session:
    """Stands for the driver's. Reads are steps. Of the register it reads the row, as the query service does."""

    def __init__(self, tables: Tables, registers: MemoryRegisters) -> None:
        self._tables = tables
        self._registers = registers
        self.cluster = SimpleNamespace(shutdown=lambda: None)
        self.client_protocol_handler: object = None
        self.timestamp_generator: Callable[[], int | None] = lambda: None

    def prepare(self, text: str) -> Any:
        return _Prepared(text)

    def execute(self, statement: Any, values: Sequence[object] = ()) -> Found:
        text = statement if isinstance(statement, str) else getattr(statement, "text", "") or statement.query_string
        if " FROM history_register " in text:
            register = self._registers.read()
            return Found() if register is None else Found([_register_row(register)])
        step(f"read {_select(text).table}", writes=False)
        return Found(self._tables.select(text, values))


def _register_row(register: Register) -> SimpleNamespace:
    return SimpleNamespace(
        path=register.path,
        made_at=datetime.fromtimestamp(register.made_ms / 1000, UTC).replace(tzinfo=None),
        lease=register.token,
        holder=register.holder,
        manifest=register.manifest,
        kept=list(register.kept),
        applied=None if register.applied is None else msgspec.json.encode(register.applied).decode(),
    )


class _Insert(NamedTuple):
    table: str
    columns: tuple[str, ...]
    has_timestamp: bool


class _Select(NamedTuple):
    table: str
    columns: tuple[str, ...]
    made: Any
    conditions: tuple[tuple[str, str], ...]
    groups: tuple[str, ...]
    order: tuple[str, ...]
    descending: bool
    limit: int | None


@cache
def _insert(text: str) -> _Insert:
    matched = re.match(r"INSERT INTO (\w+) \((.*?)\) VALUES \(.*?\)( USING TIMESTAMP \?)?$", text)
    assert matched is not None, text
    return _Insert(matched[1], tuple(matched[2].split(", ")), bool(matched[3]))


@cache
def _select(text: str) -> _Select:
    pattern = (
        r"SELECT (.*?) FROM (\w+)(?: WHERE (.*?))?(?: GROUP BY (.*?))?(?: ORDER BY (.*?))?"
        r"(?: LIMIT (\d+))?(?: ALLOW FILTERING)?$"
    )
    matched = re.match(pattern, text)
    assert matched is not None, text
    columns, names = [], []
    for one in re.split(r", (?![^(]*\))", matched[1]):
        column, _, name = one.partition(" AS ")
        columns.append(column)
        names.append(name or column)
    conditions = re.findall(r"(\w+(?:\(.*?\))?) (=|>=|<=|<|>|IN) (?:\?|%s)", matched[3] or "")
    made = None if names == ["*"] else collections.namedtuple("Row", names)
    order = (matched[5] or "").removesuffix(" DESC").split(", ") if matched[5] else ()
    groups = tuple(matched[4].split(", ")) if matched[4] else ()
    return _Select(
        matched[2], tuple(columns), made, tuple(conditions), groups, tuple(order),
        (matched[5] or "").endswith(" DESC"), int(matched[6]) if matched[6] else None,
    )  # fmt: skip


def _holds(mine: Any, operator: str, value: Any) -> bool:
    if mine is None:
        # Of all rows, what is asked for ranges of the ring.
        return True
    if operator == "IN":
        return mine in value
    return bool(
        {"=": mine == value, ">=": mine >= value, "<=": mine <= value, "<": mine < value, ">": mine > value}[operator]
        if operator == "=" or type(mine) is type(value)
        else False
    )


def _sum(rows: Sequence[Row], name: str) -> int | None:
    found = [value for row in rows if isinstance(value := row.get(name), int)]
    return sum(found) if found else None


@cache
def _type(table: str, column: str) -> Any:
    """The driver's type of a column, None of one that no test packs."""
    for path in sorted(CQL.glob("*.cql")):
        text = path.read_text()
        made = re.search(rf"CREATE TABLE IF NOT EXISTS {table} \((.*?)\n\)", text, re.DOTALL)
        found = re.search(rf"^\s+{column} (\w+)", made[1], re.MULTILINE) if made else None
        found = found or re.search(rf"ALTER TABLE {table} ADD IF NOT EXISTS {column} (\w+)", text)
        if found:
            return _TYPES.get(found[1])
    raise AssertionError(f"{table} has no {column}")


def _value(table: str, column: str, value: object) -> object:
    """As Python has it, whether the product or the driver encodes it."""
    kind = _type(table, column)
    return _plain(kind.deserialize(value, 5) if isinstance(value, bytes) and kind is not None else value)


def _plain(value: object) -> object:
    """Comparable: a time is a naive UTC one, a day a date."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, Date):
        return value.date()
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    return value


def _driver_value(value: object) -> object:
    """As the driver gives it."""
    return Date(value) if isinstance(value, date) and not isinstance(value, datetime) else value
