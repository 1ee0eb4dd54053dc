"""No row that is counted by can be too large for a Cassandra with stock limits, nor can any batch of them.

Sizes are Cassandra's own: of a row its clustering columns, a liveness, and each cell with its time (`Row.dataSize`);
what is in the partition key is no part of it, but has a limit of its own.
"""

import re
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.kinds import BLOCKED_PREFIX
from schemas.limits import ABOUT_BYTES_MAX, KIND_BYTES_MAX, VIDEO_ID_BYTES_MAX
from schemas.progress import PIPELINE
from schemas.varint import varint
from settings import CassandraSettings
from settings import CassandraSettings as Model
from tests.support.fake_cassandra import FakeCassandra
from udfs.logic.minutes.cells import Cell, dated_row
from udfs.logic.outgoing.cql_columns import pack_columns
from udfs.logic.outgoing.cql_rows import pack_inserts
from udfs.logic.outgoing.enrichment import Partition
from udfs.sinks.metadata_writer import MetadataWriter

CQL = Path(__file__).parent.parent.parent / "schemas" / "cql"
# Never set aside.
COUNTED_BY = (
    "views_by_minute", "ledger", "progress", "views_by_hour", "views_by_day", "view_totals", "channel_views_by_hour",
    "imported_totals", "imported_days",
)  # fmt: skip
# Lists, what is said of counts, and what processes note for themselves. No count is lost with them.
NOT_COUNTED_BY = (
    "top_videos", "top_videos_by_hour", "top_videos_by_day", "day_history", "audit_verdicts", "audit_corrections",
    "audit_minute_corrections", "audit_findings", "audit_finding_corrections", "history_register", "missing_records",
    "kept_settings", "video_kinds", "imported_kinds",
)  # fmt: skip
KIND_MAX = KIND_BYTES_MAX + len(BLOCKED_PREFIX)
BYTES = {"bigint": 8, "timestamp": 8, "int": 4, "date": 4, "boolean": 1}
TEXT_BYTES_MAX = {
    "video_id": VIDEO_ID_BYTES_MAX, "kind": KIND_MAX, "channel_id": ABOUT_BYTES_MAX, "pipeline": len(PIPELINE),
}  # fmt: skip
# A cell's write time, time to live and time of expiry; the liveness has the same.
CELL_BYTES_MORE = LIVENESS_BYTES = 8 + 4 + 8
BATCH_WARN = 5 << 10
BATCH_FAIL = 50 << 10
KEY_MAX = (1 << 16) - 1


def columns_of(table: str) -> tuple[dict[str, str], list[str], list[str]]:
    """(type by column, without static ones; partition key; clustering columns), as all migrations together say."""
    text = "\n".join(line for path in sorted(CQL.glob("*.cql")) for line in path.read_text().splitlines()
                     if not line.startswith("--"))  # fmt: skip
    match = re.search(rf"CREATE TABLE IF NOT EXISTS {table} \((.*?)PRIMARY KEY \((.*?)\)\s*\n\)", text, re.DOTALL)
    assert match is not None, table
    columns = dict(re.findall(r"^ +(\w+) (\w+),", match[1], re.MULTILINE))
    columns |= dict(re.findall(rf"ALTER TABLE {table} ADD IF NOT EXISTS (\w+) (\w+);", text))
    key = match[2]
    first, _, rest = key[1:].partition(")") if key.startswith("(") else key.partition(",")
    return columns, re.findall(r"\w+", first), re.findall(r"\w+", rest)


def size(columns: dict[str, str], name: str) -> int:
    kind = columns[name]
    return TEXT_BYTES_MAX[name] if kind == "text" else BYTES[kind]


def test_each_table_is_said_to_hold_counts_or_not() -> None:
    text = "".join(path.read_text() for path in CQL.glob("*.cql"))
    found = re.findall(r"^CREATE TABLE IF NOT EXISTS (\w+)", text, re.MULTILINE)
    assert sorted(found) == sorted((*COUNTED_BY, *NOT_COUNTED_BY))


@pytest.mark.parametrize("table", COUNTED_BY)
def test_the_largest_row_is_below_every_stock_limit(table: str) -> None:
    columns, partition, clustering = columns_of(table)
    cells = columns.keys() - {*partition, *clustering}
    assert cells
    row = sum(size(columns, name) for name in clustering) + LIVENESS_BYTES
    row += sum(size(columns, name) + CELL_BYTES_MORE for name in cells)
    # Even below what a batch is only warned of.
    assert row < BATCH_WARN
    assert sum(size(columns, name) + 3 for name in partition) < KEY_MAX


def server_bytes(table: str, written: tuple[str, ...]) -> int:
    """Of a row of which these columns are written."""
    columns, partition, clustering = columns_of(table)
    cells = [name for name in written if name not in {*partition, *clustering}]
    row = sum(size(columns, name) for name in clustering) + LIVENESS_BYTES
    return row + sum(size(columns, name) + CELL_BYTES_MORE for name in cells)


LARGEST = CassandraSettings(batch_rows_max=500, batch_partitions_max=500)


def test_no_batch_of_minutes_is_refused_however_long_names_are() -> None:
    for length in (1, VIDEO_ID_BYTES_MAX):
        cells = [
            Cell(b"%04d" % n * (length // 4) or b"v", b"k" * min(length, KIND_MAX), n * 1440, 2**32 - 1)
            for n in range(2000)
        ]
        batches = list(
            pack_inserts(
                b"".join(map(dated_row, cells)), bytes(16), rows_max=LARGEST.batch_rows_max,
                partitions_max=LARGEST.batch_partitions_max, bytes_max=LARGEST.batch_bytes_max,
            )
        )  # fmt: skip
        assert max(len(batch.body) for batch in batches) <= LARGEST.batch_bytes_max
        assert max(batch.number for batch in batches) * server_bytes("views_by_minute", ("views",)) <= BATCH_FAIL


@pytest.mark.parametrize("table", ["views_by_hour", "views_by_day", "view_totals", "channel_views_by_hour"])
def test_no_batch_of_sums_is_refused_however_long_names_are(table: str) -> None:
    name_max = ABOUT_BYTES_MAX if table.startswith("channel") else VIDEO_ID_BYTES_MAX
    for length in (1, name_max):
        names = pa.array(["n" * length] * 1000)
        kinds = pa.array(["k" * min(length, KIND_MAX)] * 1000)
        numbers = [pa.array([1] * 1000, pa.int64())] * 4
        batches = list(
            pack_columns(
                [names, kinds, *numbers], bytes(16), key_values=2, rows_max=LARGEST.batch_partitions_max,
                bytes_max=LARGEST.batch_bytes_max,
            )
        )  # fmt: skip
        assert max(len(batch.body) for batch in batches) <= LARGEST.batch_bytes_max
        written = ("views", "late_added", "complete_through")[: 3 if table in {"views_by_day", "view_totals"} else 2]
        assert max(batch.number for batch in batches) * server_bytes(table, written) <= BATCH_FAIL


def test_no_batch_of_titles_is_refused_however_long_they_are() -> None:
    for title in ("", "t" * 40, "t" * (ABOUT_BYTES_MAX - 16)):
        octets = title.encode()
        about = varint(len(octets)) + octets + b"\0\0\0"
        cassandra = FakeCassandra()
        with cassandra.driven():
            writer = MetadataWriter(cassandra, LARGEST)
            writer.titles([(Partition(b"%d" % n, b"v", 0), about) for n in range(1000)])
        batches = cassandra.rows["views_by_minute"]
        assert max(len(batch.body) for batch in batches) <= LARGEST.batch_bytes_max
        # Four static cells, and a static row's own liveness.
        row = len(octets) + 8 + 4 * CELL_BYTES_MORE + LIVENESS_BYTES
        assert max(batch.number for batch in batches) * row <= BATCH_FAIL


def test_no_setting_makes_a_batch_that_a_stock_cassandra_refuses() -> None:
    bounds = Model.model_fields["batch_bytes_max"].metadata
    assert max(getattr(bound, "le", 0) for bound in bounds) <= CassandraSettings().batch_bytes_max < BATCH_FAIL
