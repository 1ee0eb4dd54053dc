"""Files of numbers to import, CSV and Parquet: what they become, and how a wrong value is named."""

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tools.history.import_files import read_import
from udfs.logic.history.imports import IMPORT, ImportRefusedError

DAY = date(2024, 2, 29)
HOUR = datetime(2024, 2, 29, 7, tzinfo=UTC)


def csv(folder: Path, text: str) -> pa.Table:
    path = folder / "totals.csv"
    path.write_text(text)
    return read_import(path)


def test_the_shortest_file_has_videos_and_counts(tmp_path: Path) -> None:
    table = csv(tmp_path, "video,count\n007,5\nv,0\n")
    assert table.schema == IMPORT
    same = {"kind": "view", "day": None, "hour": None, "source": "totals.csv"}
    assert table.to_pylist() == [{"video_id": "007", "views": 5, **same}, {"video_id": "v", "views": 0, **same}]


def test_days_and_hours_may_be_mixed(tmp_path: Path) -> None:
    text = "video_id,kind,day,hour,views,source\na,like,2024-02-29,,1,x\na,,,2024-02-29T07:00Z,2,\n"
    text += "b,view,2024-02-29,2024-02-29T07,3,y\nc,view,,2024-02-29T07:00:00Z,4,y\n"
    found = [tuple(row.values()) for row in csv(tmp_path, text).to_pylist()]
    assert found == [
        ("a", "like", DAY, None, 1, "x"),
        ("a", "view", DAY, HOUR, 2, "totals.csv"),
        ("b", "view", DAY, HOUR, 3, "y"),
        ("c", "view", DAY, HOUR, 4, "y"),
    ]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_has_types_of_its_own(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "a.parquet"
    columns = {
        "video_id": pa.array(["a"]),
        "hour": pa.array([HOUR]).cast(pa.timestamp(unit, "UTC")),
        "views": pa.array([3], pa.int32()),
    }
    pq.write_table(pa.table(columns), path)
    assert read_import(path).to_pylist() == [
        {"video_id": "a", "kind": "view", "day": DAY, "hour": HOUR, "views": 3, "source": "a.parquet"}
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video,count\nv,5\n,3\n", "row 2: video_id='' is empty"),
        (f"video,count\n{'v' * 65},3\n", "row 1: video_id='vvv"),
        ("video,count\nv,-1\n", "row 1: views='-1' is not a whole number"),
        ("video,count\nv,1.5\n", "row 1: views='1.5' is not a whole number"),
        ("video,count\nv,\n", "row 1: views='' is not a whole number"),
        ("video,count\nv,1000000000000001\n", "is more than"),
        ("video,count,day\nv,1,29.2.2024\n", "row 1: day='29.2.2024' is no day; write it as 2026-01-31"),
        ("video,count,day\nv,1,2023-02-29\n", "row 1: day='2023-02-29'"),
        ("video,count,day\nv,1,1999-12-31\n", "is not in the years 2000 to 2099"),
        ("video,count,hour\nv,1,2024-02-29T07:30Z\n", "row 1: hour='2024-02-29T07:30Z' is no whole hour"),
        ("video,count,hour\nv,1,2024-02-29T25:00Z\n", "row 1: hour='2024-02-29T25:00Z'"),
        ("video,count,day,hour\nv,1,2024-02-28,2024-02-29T07:00Z\n", "row 1: day='2024-02-28' is not the day of"),
        ("video,count,kind\nv,1,blocked:view\n", "row 1: kind='blocked:view' begins with blocked:"),
        ("video,count,kind\nv,1,canary:view\n", "row 1: kind='canary:view' begins with canary:"),
        ("video,views,count\nv,1,2\n", "more than one column for views"),
        ("video,number\nv,1\n", "a column number, which is not known"),
        ("video,kind\nv,1\n", "has no column views"),
        ("video,count\nv,1,2\n", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ImportRefusedError) as error:
        csv(tmp_path, text)
    assert said in str(error.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "totals.xlsx"
    path.write_bytes(b"x")
    with pytest.raises(ImportRefusedError, match=r"neither \.csv nor \.parquet"):
        read_import(path)
    with pytest.raises(ImportRefusedError, match="cannot be read"):
        read_import(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"video,count\n\xe9,1\n")
    with pytest.raises(ImportRefusedError, match="cannot be read"):
        read_import(tmp_path / "latin.csv")
