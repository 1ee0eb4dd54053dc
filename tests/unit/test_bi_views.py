"""The views for BI tools have what the rollup has counted, but for reserved kinds: in DuckDB and over Iceberg tables.

DuckDB reads the Parquet by the manifest. What pyiceberg reads comes into DuckDB as Arrow, under the names of the
tables; that shows that the columns are there and mean the same, though no test runs Spark or Trino.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import StaticTable

from schemas.kinds import BLOCKED_PREFIX, CANARY_PREFIX
from tests.support.local_rollup import LocalRollup
from tests.support.random_streams import RULES, Event
from tests.unit.test_rollup_killed import FIRST, KEPT, LAST, NEXT, Views
from tools.iceberg import Stores, publish_tables
from udfs.logic.history.imports import IMPORT
from udfs.logic.history.manifest import DATA_SETS, MANIFEST, Manifest
from udfs.stores.conditional_files import FolderFiles

# Together they take seconds, some by what they build first: the fast tier leaves them out.
pytestmark = pytest.mark.slow

SQL = Path(__file__).parents[2] / "schemas" / "bi"
PAGE = (Path(__file__).parents[2] / "docs" / "bi.md").read_text(encoding="utf-8")
# How each file names the table of a data set.
OF = {
    "duckdb": re.compile(r"read_parquet\(getvariable\('(\w+)'\)(?:, hive_partitioning = true)?\)"),
    "spark": re.compile(r"history\.(\w+)"),
    "trino": re.compile(r"iceberg\.history\.(\w+)"),
}
VIEW = r"^CREATE OR REPLACE (?:TEMPORARY )?VIEW (?:iceberg\.bi\.)?(\w+) AS\n(.*?);\n"
# What there is in the Parquet alone.
ONLY_IN_DUCKDB = {"how_far", "imported"}
# The first names viewers, though by a hash. The others answer questions of the service about one channel.
NOT_SHOWN = {"suspects", "channel_top_days", "channel_totals"}
Rows = Counter[tuple[object, ...]]


class WithCanaries(Views):
    """Some events are those by which the system watches itself."""

    def _view(self, viewed_at: int) -> Event:
        identity, video, kind, viewed_at = super()._view(viewed_at)
        return identity, video, "canary:hour" if identity[0] % 5 == 0 else kind, viewed_at


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A history with files that were replaced, viewers who are blocked, and canaries."""
    options = {"late_hours": 24, "late_file_hours": 0, "viewer_minute_max": 1, "viewer_day_max": 1}
    rollup, views = LocalRollup(tmp_path_factory.mktemp("bi"), RULES, KEPT, **options), WithCanaries()
    for hour in FIRST:
        rollup.archive(views.hour(hour))
    rollup.run()
    rollup.archive(views.hour(FIRST[-1] + 1, late_for=(22, 24)))
    views.close(rollup, LAST)
    rollup.run()
    views.close(rollup, NEXT)
    return rollup.root / "history", rollup.run()


def selects(engine: str) -> dict[str, str]:
    """What each view of a file selects, with data sets as the names of tables."""
    text = (SQL / f"{engine}.sql").read_text(encoding="utf-8")
    found = re.findall(VIEW, text, re.MULTILINE | re.DOTALL)
    return {name: OF[engine].sub(r"\1", select) for name, select in found}


def rows_of(result: duckdb.DuckDBPyConnection) -> Rows:
    return Counter(result.fetchall())


def counted(root: Path, manifest: Manifest, data_set: str, columns: list[str]) -> Iterator[tuple[object, ...]]:
    """The rows of the files that the manifest names, save those of reserved kinds."""
    for path in {path for of in manifest.files[data_set].values() for path in of.values()}:
        day = re.search(r"viewed_day=([\d-]+)/", path)
        for row in pq.ParquetFile(root / path).read().to_pylist():
            if not row["kind"].startswith((BLOCKED_PREFIX, CANARY_PREFIX)):
                row["viewed_day"] = date.fromisoformat(day[1]) if day else None
                yield tuple(row[column] for column in columns)


def opened(root: Path) -> duckdb.DuckDBPyConnection:
    """What somebody has who has run the file."""
    connection = duckdb.connect()
    connection.execute(f"SET VARIABLE url = '{root}'")
    for statement in duckdb.extract_statements((SQL / "duckdb.sql").read_text(encoding="utf-8")):
        try:
            connection.execute(statement)
        except duckdb.Error:
            # The page says so of a data set that has no file; this history has no imports.
            assert "imported" in statement.query
    return connection


def columns_of(select: str) -> list[str]:
    return re.sub(r"\s+", " ", select).removeprefix("SELECT ").partition(" FROM ")[0].split(", ")


@pytest.mark.parametrize(("view", "select"), [(v, s) for v, s in selects("duckdb").items() if v not in ONLY_IN_DUCKDB])
def test_a_view_has_what_was_counted_but_for_reserved_kinds(
    history: tuple[Path, Manifest], view: str, select: str
) -> None:
    root, manifest = history
    data_set = select.split("FROM ")[1].split(maxsplit=1)[0]
    columns = columns_of(select)
    wanted = Counter(counted(root, manifest, data_set, columns))
    assert wanted
    with opened(root) as connection:
        result = connection.execute(f"FROM {view}")
        assert [column[0] for column in result.description or ()] == columns
        assert rows_of(result) == wanted
        if data_set in {"hours", "days", "totals"}:
            files = f"read_parquet(getvariable('{data_set}'))"
            hidden = connection.execute(f"SELECT DISTINCT split_part(kind, ':', 1) FROM {files} WHERE kind LIKE '%:%'")
            assert rows_of(hidden).keys() == {("blocked",), ("canary",)}


def test_iceberg_tables_give_the_same_by_the_same_statements(history: tuple[Path, Manifest], tmp_path: Path) -> None:
    root, manifest = history
    shutil.copytree(root, tmp_path / "history")
    here = tmp_path / "history"
    publish_tables(Stores(pyarrow.fs.LocalFileSystem(), FolderFiles()), str(here), lambda: manifest)
    with opened(root) as parquet, duckdb.connect() as iceberg:
        iceberg.execute("SET TimeZone = 'UTC'")
        for view, select in selects("spark").items():
            data_set = select.split("FROM ")[1].split()[0]
            table = StaticTable.from_metadata(f"file://{here}/iceberg/{data_set}").scan().to_arrow()
            iceberg.register(data_set, table)
            assert rows_of(iceberg.execute(select)) == rows_of(parquet.execute(f"FROM {view}")), view


def test_all_engines_have_the_same_views_of_every_data_set() -> None:
    in_duckdb = selects("duckdb")
    assert in_duckdb.keys() >= ONLY_IN_DUCKDB
    shared = {view: select for view, select in in_duckdb.items() if view not in ONLY_IN_DUCKDB}
    assert selects("spark") == selects("trino") == shared
    assert {select.split("FROM ")[1].split()[0] for select in shared.values()} == {*DATA_SETS} - NOT_SHOWN


def test_the_page_names_every_view_and_its_columns() -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", PAGE, re.MULTILINE))
    assert documented.keys() == selects("duckdb").keys()
    for view, select in selects("duckdb").items():
        columns = ["complete_through"] if view == "how_far" else columns_of(select)
        assert re.findall(r"`(\w+)`", documented[view]) == columns, view


def test_imports_are_shown_apart_and_how_far_history_is(history: tuple[Path, Manifest], tmp_path: Path) -> None:
    root, manifest = history
    shutil.copytree(root, tmp_path / "history")
    here = tmp_path / "history"
    rows = [
        {"video_id": "v", "kind": "view", "day": date(2020, 1, 2), "hour": None, "views": 5, "source": "old"},
        {"video_id": "v", "kind": "blocked:view", "day": None, "hour": None, "views": 7, "source": "old"},
    ]
    pq.write_table(pa.Table.from_pylist(rows, IMPORT), here / "one.parquet")
    said = msgspec.json.decode((here / MANIFEST).read_bytes())
    said["imports"] = {"a": {"path": "one.parquet"}}
    (here / MANIFEST).write_bytes(msgspec.json.encode(said))
    with opened(here) as connection:
        assert connection.execute("FROM imported").fetchall() == [("v", "view", date(2020, 1, 2), None, 5, "old")]
        (through,) = connection.execute("SELECT complete_through FROM how_far").fetchone() or ()
        assert through == datetime.fromtimestamp(manifest.through_hour * 3600, UTC)
        before = connection.execute("SELECT sum(views) FROM views_total").fetchone()
    with opened(root) as connection:
        assert connection.execute("SELECT sum(views) FROM views_total").fetchone() == before
