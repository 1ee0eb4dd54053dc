"""Reads history as an analyst would: the manifest as JSON, and the files that it names. Uses no code of the rollup."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple

import pyarrow.fs
import pyarrow.parquet as pq

from tools.audit_demo.truth import SPANS, Truth, summed
from tools.load.prediction import Cells
from tools.recount import Finding, compare_cells

MINUTE_MS = 60_000
_DAY_0 = date(1970, 1, 1)
_TIMES = {"minutes": "minute", "hours": "hour"}


class RepeatedRowError(ValueError):
    """Two rows have the same video, kind and time. The text names them."""


class History(NamedTuple):
    """The rows of history: by data set, the views and the late views by (video, kind, minute).

    Hours viewed before `through_hour`, in hours since 1970, are complete.
    """

    through_hour: int
    views: dict[str, Cells]
    late: dict[str, Cells]


def read(store: pyarrow.fs.FileSystem, root: str) -> History:
    """All rows of minutes, hours, days and totals. Raises RepeatedRowError."""
    with store.open_input_stream(f"{root}/manifest.json") as stream:
        manifest = json.load(stream)
    found = History(manifest["through_hour"], {}, {})
    for data_set in SPANS:
        views: Cells = {}
        late: Cells = {}
        for path in sorted({path for of in manifest["files"][data_set].values() for path in of.values()}):
            with store.open_input_file(f"{root}/{path}") as file:
                # The open file is passed, because pyarrow would make columns from parts of a path.
                rows = pq.read_table(file)
            for cell, row_views, row_late in _rows(data_set, path, rows):
                if cell in views:
                    raise RepeatedRowError(f"{data_set}: {cell} is in two rows, one of them in {path}")
                views[cell], late[cell] = row_views, row_late
        found.views[data_set] = views
        found.late[data_set] = {cell: n for cell, n in late.items() if n}
    return found


class Comparison(NamedTuple):
    """One comparison: how many rows were compared, and what is wrong."""

    name: str
    rows: int
    findings: list[Finding]


def compare(truth: Truth, history: History) -> Iterator[Comparison]:
    """Compare every row of every data set with the truth, and find missing rows."""
    complete = truth.before(history.through_hour)
    for data_set, span in SPANS.items():
        views, late = summed(complete.views(), span), summed(complete.late, span)
        yield Comparison(
            f"{data_set} in Parquet",
            len(views.keys() | history.views[data_set].keys()),
            [
                *compare_cells(views, history.views[data_set], data_set),
                *compare_cells(late, history.late[data_set], f"{data_set}, late_added"),
            ],
        )


def _rows(data_set: str, path: str, table: Any) -> Iterator[tuple[tuple[str, str, int], int, int]]:
    time = _TIMES.get(data_set)
    if time is not None:
        minutes = [at // MINUTE_MS for at in table[time].cast("int64").to_pylist()]
    elif data_set == "days":
        day = date.fromisoformat(path.partition("viewed_day=")[2].partition("/")[0])
        minutes = [(day - _DAY_0).days * 24 * 60] * table.num_rows
    else:
        minutes = [0] * table.num_rows
    names = zip(table["video_id"].to_pylist(), table["kind"].to_pylist(), minutes, strict=True)
    return zip(names, table["views"].to_pylist(), table["late_added"].to_pylist(), strict=True)
