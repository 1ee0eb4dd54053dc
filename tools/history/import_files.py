"""Reads a file of numbers that are to be imported, CSV or Parquet, into a table of the schema IMPORT.

Columns are `video_id` (or `video`), `views` (or `count`), and if wanted `kind` (otherwise view), `day`, `hour` and
`source` (otherwise the file's name).
"""

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from schemas.kinds import BLOCKED_PREFIX, CANARY_PREFIX
from schemas.limits import KIND_BYTES_MAX, VIDEO_ID_BYTES_MAX
from schemas.values import TIME_END_MS
from settings.durations import DAY_MS
from udfs.logic.history.imports import IMPORT, ImportRefusedError, in_order
from udfs.logic.history.tables import TIME

ALIASES = {"video": "video_id", "count": "views"}
DEFAULT_KIND = "view"
SOURCE_BYTES_MAX = 64
# More than anybody has counted, and so few that no sum of them is too large for a column.
VIEWS_MAX = 10**15
ROWS_MAX = 50_000_000
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_HOUR = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}(?::00(?::00)?)?(?:Z|\+00:00)?")
_WHOLE = r"^(0|[1-9][0-9]{0,15})$"
_END_DAY = TIME_END_MS // DAY_MS


def read_import(path: Path) -> pa.Table:
    """The rows of a file. Raises ImportRefusedError, which names row, column, value and remedy.

    Rows are numbered from 1. The line with the names of columns has no number.
    """
    found = _named(_read(path), path.name)
    if found.num_rows > ROWS_MAX:
        raise ImportRefusedError(f"{path.name} has {found.num_rows} rows, more than {ROWS_MAX}; import it in parts")
    hours = _column(found, "hour", _hour, TIME)
    days = _column(found, "day", _day, pa.date32())
    of_hour = pc.floor_temporal(hours, unit="day").cast(pa.date32())
    _refuse(
        found, "day", pc.not_equal(days, of_hour), "is not the day of the row's hour; leave the day or the hour out"
    )
    table = pa.table(
        [
            _texts(found, "video_id", VIDEO_ID_BYTES_MAX),
            _kinds(found),
            pc.coalesce(days, of_hour),
            hours,
            _views(found),
            _texts(found, "source", SOURCE_BYTES_MAX),
        ],
        schema=IMPORT,
    )
    return in_order(table)


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        if path.suffix == ".csv":
            # Everything is read as text, since a column of ids may consist of digits.
            names = pyarrow.csv.open_csv(path).schema.names
            texts = dict.fromkeys(names, pa.string())
            options = pyarrow.csv.ConvertOptions(column_types=texts, strings_can_be_null=True, null_values=[""])
            parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
            return pyarrow.csv.read_csv(path, convert_options=options, parse_options=parsing)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ImportRefusedError(f"{path.name} cannot be read: {error}; correct the file") from error
    except OSError as error:
        raise ImportRefusedError(f"{path.name} cannot be read: {error.strerror or error}; check the path") from error
    raise ImportRefusedError(f"{path.name} is neither .csv nor .parquet; write it as one of them")


def _named(table: pa.Table, file: str) -> pa.Table:
    """The columns of an import as text, by their names. Columns that are not there are made."""
    names = [ALIASES.get(name.strip(), name.strip()) for name in table.schema.names]
    for name in names:
        if name not in IMPORT.names:
            known = "video_id, kind, day, hour, views and source"
            raise ImportRefusedError(f"{file} has a column {name:.80}, which is not known; name columns {known}")
        if names.count(name) > 1:
            raise ImportRefusedError(f"{file} has more than one column for {name}; leave one")
    for name in ("video_id", "views"):
        if name not in names:
            raise ImportRefusedError(f"{file} has no column {name}; add it")
    found = {name: _as_text(column) for name, column in zip(names, table.columns, strict=True)}
    nothing = pa.nulls(table.num_rows, pa.string())
    columns = {name: found.get(name, nothing) for name in IMPORT.names}
    columns["kind"] = pc.fill_null(columns["kind"], DEFAULT_KIND)
    columns["source"] = pc.fill_null(columns["source"], file.encode()[:SOURCE_BYTES_MAX].decode(errors="ignore"))
    return pa.table(columns)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        return _as_text_of_time(column)
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise ImportRefusedError(f"a column has values that are no text: {error}; correct the file") from error


def _as_text_of_time(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole seconds as text. Other times keep their fraction, so that they are refused as no whole hour."""
    if column.type.tz not in {None, "UTC"}:
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))
    whole = column.cast(pa.timestamp("s", column.type.tz), safe=False)
    is_whole = pc.equal(whole.cast(column.type), column)
    return pc.if_else(is_whole, pc.strftime(whole, format="%Y-%m-%dT%H:%M:%SZ"), column.cast(pa.string()))


def _texts(table: pa.Table, name: str, bytes_max: int) -> pa.ChunkedArray:
    column = table[name]
    _refuse(table, name, column.is_null(), "is empty; name it")
    size = pc.binary_length(column)
    wrong = pc.or_(pc.equal(size, 0), pc.greater(size, bytes_max))
    _refuse(table, name, wrong, f"must have 1 to {bytes_max} bytes; shorten it")
    return column


def _kinds(table: pa.Table) -> pa.ChunkedArray:
    column = _texts(table, "kind", KIND_BYTES_MAX)
    for prefix in (BLOCKED_PREFIX, CANARY_PREFIX):
        _refuse(table, "kind", pc.starts_with(column, prefix), f"begins with {prefix}, which is reserved; use another")
    return column


def _views(table: pa.Table) -> pa.ChunkedArray:
    column = table["views"]
    fits = pc.fill_null(pc.match_substring_regex(column, _WHOLE), fill_value=False)
    _refuse(
        table, "views", pc.invert(fits), f"is not a whole number from 0 to {VIEWS_MAX}, in digits alone; correct it"
    )
    views = column.cast(pa.int64())
    _refuse(table, "views", pc.greater(views, VIEWS_MAX), f"is more than {VIEWS_MAX}; correct it")
    return views


def _column(table: pa.Table, name: str, parse: Callable[[str], date | datetime], kind: pa.DataType) -> pa.Array:
    """A column of times. Each text is parsed once, since many rows share a time."""
    texts = table[name].combine_chunks().dictionary_encode()
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    parsed = []
    for at, text in enumerate(texts.dictionary.to_pylist()):
        try:
            parsed.append(parse(text))
        except ValueError as error:
            _refuse(table, name, pc.equal(texts.indices, at), str(error))
    return pa.array(parsed, kind).take(texts.indices)


def _day(text: str) -> date:
    if _DAY.fullmatch(text) is None:
        raise ValueError("is no day; write it as 2026-01-31")
    return _known(date.fromisoformat(text))


def _hour(text: str) -> datetime:
    if _HOUR.fullmatch(text) is None:
        raise ValueError("is no whole hour of UTC; write it as 2026-01-31T12:00Z")
    found = datetime.fromisoformat(f"{text[:13]}:00:00+00:00")
    _known(found.date())
    return found


def _known(day: date) -> date:
    if not date(2000, 1, 1) <= day < date.fromordinal(date(1970, 1, 1).toordinal() + _END_DAY):
        raise ValueError("is not in the years 2000 to 2099; correct it")
    return day


def _refuse(table: pa.Table, name: str, wrong: pa.Array | pa.ChunkedArray, why: str) -> None:
    """Raise ImportRefusedError for the first row that is wrong. A null is not."""
    row = next(_places(wrong), None)
    if row is not None:
        raise ImportRefusedError(f"row {row + 1}: {name}={str(table[name][row].as_py() or '')!r:.80} {why}")


def _places(wrong: pa.Array | pa.ChunkedArray) -> Iterator[int]:
    yield from pc.indices_nonzero(pc.fill_null(wrong, fill_value=False)).slice(0, 1).to_pylist()
