"""What docs/parquet.md tells an analyst to type answers what was viewed, in polars, pyarrow, pandas and DuckDB."""

import ast
import random
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from tests.support.local_rollup import LocalRollup, metadata_records
from tests.support.random_streams import RULES, Event, country_of, device_of, encode, viewer_of
from tests.support.records import salt_of
from udfs.logic.history.channel_sums import CHANNEL_TOPS, CHANNEL_TOTALS, CHANNELS
from udfs.logic.history.manifest import DATA_SETS, MANIFEST
from udfs.logic.history.marks import MARKS, SUSPECTS
from udfs.logic.history.tables import COUNTRIES, DEVICES, HOURS, MINUTES, SUMS, TIME
from udfs.logic.history.top_lists import TOPS
from udfs.logic.history.unique_viewers import VIEWERS_OF_DAY

# Together they take seconds, some by what they build first: the fast tier leaves them out.
pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "parquet.md").read_text()
FIRST_DAY, LAST_DAY = date(2026, 1, 17), date(2026, 1, 31)
# A rollup ends before this day, another after the last.
SECOND_ROLLUP = date(2026, 1, 25)
VIDEOS = [f"video-{n}" for n in range(14)]
KEPT = {"video-metadata": metadata_records({video: f"c-{n % 3}" for n, video in enumerate(VIDEOS)})}
Rows = Sequence[tuple[object, ...]]


@dataclass(frozen=True)
class Seen:
    """A view that counts."""

    video_id: str
    kind: str
    viewed_at: datetime
    is_late: bool
    country: str
    device: str
    viewer_id: str | None

    @property
    def day(self) -> date:
        return self.viewed_at.date()

    @property
    def hour(self) -> datetime:
        return self.viewed_at.replace(minute=0, second=0, microsecond=0)


class Traffic:
    """Makes records, and knows what is viewed in them."""

    def __init__(self) -> None:
        self._random = random.Random(3)
        self.seen: list[Seen] = []

    def batch(self, now: datetime, views: int, late: int) -> Iterator[tuple[int, int, bytes]]:
        """(record_ms, salt, value) of each salt: views of the last minutes, and others half a day late."""
        r = self._random
        events: list[Event] = []
        for number in range(views + late):
            is_late = number >= views
            ago_ms = r.randrange(240_000) + is_late * 43_200_000
            viewed_at = now - timedelta(milliseconds=ago_ms)
            identity = uuid.UUID(int=r.getrandbits(128)).bytes
            video, kind = r.choices(VIDEOS, range(len(VIDEOS), 0, -1))[0], r.choice(["view", "view", "like"])
            events.append((identity, video, kind, milliseconds(viewed_at)))
            country = (country_of(identity) or "").upper()
            known = country if re.fullmatch("[A-Z]{2}", country) else ""
            device = (device_of(identity) or "").lower()
            device = device if re.fullmatch(r"[a-z0-9 ._-]{1,32}", device) else ""
            self.seen.append(Seen(video, kind, viewed_at, is_late, known, device, viewer_of(identity) or None))
        for salt in range(RULES.salts):
            mine = [event for event in events if salt_of(event[0], RULES.salts) == salt]
            yield milliseconds(now), salt, encode(salt, mine, milliseconds(now))


def milliseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def make_history(root: Path) -> tuple[Path, list[Seen]]:
    """Where it lies, and what it counts: days of which the first are over for good."""
    rollup = LocalRollup(root, RULES, KEPT, hours_at_once=1000)
    traffic = Traffic()
    day = FIRST_DAY
    while day <= LAST_DAY:
        if day == SECOND_ROLLUP:
            rollup.run()
        for hour in (10, 22):
            rollup.archive(traffic.batch(datetime(day.year, day.month, day.day, hour, 7, tzinfo=UTC), 60, 5))
        day += timedelta(days=1)
    for hour in (0, 1):
        rollup.archive(traffic.batch(datetime(day.year, day.month, day.day, hour, 30, tzinfo=UTC), 0, 0))
    assert rollup.run().complete_through == datetime(day.year, day.month, day.day, tzinfo=UTC)
    return rollup.root / "history", traffic.seen


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Seen]]:
    return make_history(tmp_path_factory.mktemp("history"))


# --- running what the page says


def blocks(section: str, language: str) -> list[str]:
    """Of a part of the page."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def is_connection(block: str) -> bool:
    """Whether it says where the store is."""
    return "view-counts-secret" in block


def evaluated(code: str, names: dict[str, Any]) -> Any:
    """The value of the code's last expression, as a notebook shows it; None when it ends in a statement."""
    *statements, last = ast.parse(code).body
    if not isinstance(last, ast.Expr):
        statements.append(last)
    exec(compile(ast.Module(statements, []), "docs", "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "docs", "eval"), names)


def rows_of(value: Any) -> Rows:
    if isinstance(value, pl.DataFrame):
        return value.rows()
    if isinstance(value, pd.DataFrame):
        # As Python's own values: pandas has times of its own.
        value = pa.Table.from_pandas(value, preserve_index=False)
    assert isinstance(value, pa.Table), type(value)
    return [tuple(row.values()) for row in value.to_pylist()]


def python_answers(names: dict[str, Any]) -> list[Rows]:
    """What the blocks of polars, pyarrow and pandas answer, in turn; `names` are what a connection defines."""
    found = []
    for block in (block for reader in ("polars", "pyarrow", "pandas") for block in blocks(reader, "python")):
        if not is_connection(block):
            value = evaluated(block, names)
            if value is not None:
                found.append(rows_of(value))
    return found


def duckdb_answers(root: Path) -> list[Rows]:
    """What those of DuckDB answer."""
    found: list[Rows] = []
    with duckdb.connect() as connection:
        connection.execute(f"SET VARIABLE url = '{root}'")
        for block in blocks("DuckDB", "sql"):
            if not is_connection(block):
                result = connection.execute(block)
                if block.lstrip().startswith("SELECT"):
                    found.append(result.fetchall())
    return found


def local_names(root: Path) -> dict[str, Any]:
    return {"root": str(root), "url": str(root), "store": pyarrow.fs.LocalFileSystem(), "options": None}


# --- what they must answer, in the order of the page


def top(seen: list[Seen]) -> Rows:
    views = Counter(s.video_id for s in seen if s.day == LAST_DAY and s.kind == "view")
    ranked = sorted(views.items(), key=lambda one: (-one[1], one[0]))
    return ranked[:10]


def of_video(seen: list[Seen]) -> list[Seen]:
    return [s for s in seen if (s.video_id, s.kind, s.day) == ("video-1", "view", LAST_DAY)]


def by_hour(seen: list[Seen]) -> Rows:
    return sorted(Counter(s.hour for s in of_video(seen)).items())


def every_hour(seen: list[Seen]) -> Rows:
    views = Counter(s.hour for s in of_video(seen))
    midnight = datetime(2026, 1, 31, tzinfo=UTC)
    return [(at, views[at]) for at in (midnight + timedelta(hours=n) for n in range(24))]


def by_minute(seen: list[Seen]) -> Rows:
    begin = datetime(2026, 1, 31, 22, tzinfo=UTC)
    within = [s.viewed_at for s in of_video(seen) if begin <= s.viewed_at < begin + timedelta(minutes=15)]
    return sorted(Counter(at.replace(second=0, microsecond=0) for at in within).items())


def late_shares(seen: list[Seen]) -> Rows:
    every, late = Counter(s.day for s in seen), Counter(s.day for s in seen if s.is_late)
    return [(day, late[day], late[day] / views) for day, views in sorted(every.items())]


def growth(seen: list[Seen]) -> Rows:
    weeks = [Counter[str](), Counter[str]()]
    for s in seen:
        week = (LAST_DAY - s.day).days // 7
        if s.kind == "view" and week < 2:
            weeks[week][s.video_id] += 1
    after, before = weeks
    rows = [(video, before[video], after[video], after[video] - before[video]) for video in {*before, *after}]
    return sorted(rows, key=lambda row: (-row[3], row[0]))


def kinds(seen: list[Seen]) -> Rows:
    return sorted({(s.day, s.kind) for s in seen})


def by_kind(seen: list[Seen]) -> list[tuple[str, int]]:
    return sorted(Counter(s.kind for s in seen).items())


def by_kind_of_day(seen: list[Seen]) -> Rows:
    return by_kind([s for s in seen if s.day == LAST_DAY])


def totals(seen: list[Seen]) -> Rows:
    mine = [s for s in seen if s.video_id == "video-1"]
    late = Counter(s.kind for s in mine if s.is_late)
    return [(kind, views, late[kind]) for kind, views in by_kind(mine)]


def countries(seen: list[Seen]) -> Rows:
    views = Counter(s.country for s in of_video(seen))
    return sorted(views.items(), key=lambda one: (-one[1], one[0]))


def devices(seen: list[Seen]) -> Rows:
    views = Counter((s.day, s.device) for s in seen if s.kind == "view" and s.day >= date(2026, 1, 25))
    of_day = Counter[date]()
    for (day, _), number in views.items():
        of_day[day] += number
    shares = ((day, device, number, number / of_day[day]) for (day, device), number in views.items())
    return sorted(shares, key=lambda row: (row[0], -row[2], row[1]))


Answer = Callable[[list[Seen]], Rows]
IN_PYTHON: list[Answer] = [
    *(top, by_hour, by_minute, late_shares, growth, kinds),
    *(by_kind_of_day, totals),
    *(top, by_kind_of_day, by_hour),
]
IN_SQL: list[Answer] = [top, every_hour, late_shares, growth, countries, devices, kinds]


def test_polars_pyarrow_and_pandas_answer_what_was_viewed(history: tuple[Path, list[Seen]]) -> None:
    root, seen = history
    assert python_answers(local_names(root)) == [answer(seen) for answer in IN_PYTHON]
    assert all(answer(seen) for answer in (*IN_PYTHON, *IN_SQL))


def test_duckdb_answers_what_was_viewed(history: tuple[Path, list[Seen]]) -> None:
    root, seen = history
    assert duckdb_answers(root) == [answer(seen) for answer in IN_SQL]


def test_what_the_manifest_does_not_name_is_not_counted(history: tuple[Path, list[Seen]], tmp_path: Path) -> None:
    root, seen = history
    shutil.copytree(root, tmp_path / "history")
    for file in list((tmp_path / "history" / "days").rglob("*.parquet")):
        shutil.copy(file, file.with_name(f"successor-of-{file.name}"))
    assert python_answers(local_names(tmp_path / "history")) == [answer(seen) for answer in IN_PYTHON]
    assert duckdb_answers(tmp_path / "history") == [answer(seen) for answer in IN_SQL]


def test_a_folder_has_files_of_manifests_that_are_kept_beside_the_one_in_force(
    history: tuple[Path, list[Seen]],
) -> None:
    """The page says so: whoever sums a whole folder counts some views twice."""
    root, seen = history
    summed = pl.scan_parquet(f"{root}/totals/*.parquet").select(pl.col("views").sum()).collect().item()
    assert summed > len(seen)
    named = msgspec.json.decode((root / MANIFEST).read_bytes())["files"]["totals"]["0"]
    assert sum(pq.read_table(root / path)["views"].to_numpy().sum() for path in named.values()) == len(seen)


def test_readers_of_hives_partitions_see_a_date(history: tuple[Path, list[Seen]]) -> None:
    root, _ = history
    names = local_names(root)
    python_answers(names)
    assert names["scan"]("days").collect_schema()["viewed_day"] == pl.Date
    assert names["scan"]("minutes").collect_schema()["minute"] == pl.Datetime("ms", "UTC")
    described = duckdb.sql(f"DESCRIBE FROM read_parquet('{root}/hours/**/*.parquet', hive_partitioning = true)")
    assert described is not None
    types = {name: kind for name, kind, *_ in described.fetchall()}
    assert (types["viewed_day"], types["hour"]) == ("DATE", "TIMESTAMP WITH TIME ZONE")


def test_pandas_sees_a_date_only_where_it_is_told(history: tuple[Path, list[Seen]]) -> None:
    """The page warns of it: a comparison that finds nothing is no error."""
    root, _ = history
    names = local_names(root)
    python_answers(names)
    days = names["frame"]("days")
    assert days.viewed_day.dtype == pd.ArrowDtype(pa.date32())
    assert (days.viewed_day == LAST_DAY).sum() == (days.viewed_day == pd.Timestamp(LAST_DAY)).sum() > 0
    assert (days.viewed_day == LAST_DAY.isoformat()).sum() == 0
    plain = pd.read_parquet(root / "days")
    assert plain.viewed_day.dtype == "category"
    assert (plain.viewed_day == LAST_DAY).sum() == 0
    assert (plain.viewed_day == LAST_DAY.isoformat()).sum() > 0


# --- the files


HOUR = pa.field("hour", TIME)
SCHEMAS = {
    "minutes": MINUTES,
    "hours": HOURS,
    "days": SUMS,
    "totals": SUMS,
    "countries": COUNTRIES.append(HOUR),
    "devices": DEVICES,
    "channels": CHANNELS,
    "viewers": VIEWERS_OF_DAY,
    "marks": MARKS,
    "suspects": SUSPECTS,
    "top_hours": TOPS.append(HOUR),
    "top_days": TOPS,
    "channel_totals": CHANNEL_TOTALS,
    "channel_top_days": CHANNEL_TOPS,
}
SORTED = {
    "channels": ["channel_id", "kind", "hour"],
    "top_hours": ["kind", "country"],
    "top_days": ["kind", "country", "rank"],
    "channel_totals": ["channel_id", "kind"],
    "channel_top_days": ["channel_id", "kind", "rank"],
    "minutes": ["video_id", "kind", "minute"],
    "hours": ["video_id", "kind", "hour"],
    "countries": ["video_id", "kind", "country", "hour"],
    "devices": ["video_id", "kind", "device"],
}
TYPES = {"string": "string", "int64": "int64", "int32": "int32", "binary": "binary", str(TIME): "timestamp"}
TYPES[str(SUSPECTS.field("viewer").type)] = "binary"


def files(root: Path, data_set: str) -> list[Path]:
    return list((root / data_set).rglob("*.parquet"))


def test_the_documented_columns_are_those_of_the_files(history: tuple[Path, list[Seen]]) -> None:
    root, _ = history
    documented = {
        section.split("\n", maxsplit=1)[0]: re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE)
        for section in re.split(r"^### ", PAGE.split("\n## ")[1], flags=re.MULTILINE)[1:]
    }
    assert set(documented) == set(DATA_SETS)
    for data_set, columns in documented.items():
        assert [(field.name, TYPES[str(field.type)]) for field in SCHEMAS[data_set]] == columns, data_set
        found = files(root, data_set)
        assert found, data_set
        assert all(pq.read_schema(file) == SCHEMAS[data_set] for file in found)


# Suspects are few, and have the worst first.
@pytest.mark.parametrize("data_set", sorted({*DATA_SETS} - {"suspects"}))
def test_files_are_sorted_and_say_what_each_row_group_holds(history: tuple[Path, list[Seen]], data_set: str) -> None:
    keys = SORTED.get(data_set, ["video_id", "kind"])
    for file in files(history[0], data_set):
        rows = pq.read_table(file).select(keys).to_pylist()
        assert rows == sorted(rows, key=lambda row: tuple(row.values())), file
        metadata = pq.read_metadata(file)
        for group in range(metadata.num_row_groups if metadata.num_rows else 0):
            assert metadata.row_group(group).column(metadata.schema.names.index(keys[0])).statistics.has_min_max
