"""How history's files are called, what their names tell, and what a manifest sums up of what it names."""

import msgspec
import pytest

from udfs.logic.history.manifest import (
    DATA_SETS,
    HOURLY,
    MANIFEST,
    Counted,
    SliceName,
    file_name,
    file_name_of_day,
    made_by,
    no_history,
    part_name,
    slice_folder,
    token_in,
)
from udfs.logic.history.manifest_versions import WHOLE_HOUR
from udfs.logic.history.register import manifest_name, token_of

HOUR = 24 * 20_000 + 5
TOKEN = 1_764_300_000_123_456
MADE = made_by(TOKEN, "5ad1c0de")


def test_files_lie_as_hive_has_it() -> None:
    assert MADE == "00001764300000123456-5ad1c0de"
    assert file_name("minutes", HOUR, 3, MADE) == f"minutes/viewed_day=2024-10-04/hour-05-shard-0003-run-{MADE}.parquet"
    assert file_name_of_day("hours", 20_000, 3, MADE) == f"hours/viewed_day=2024-10-04/shard-0003-run-{MADE}.parquet"
    assert file_name("days", 20_000, 3, MADE) == f"days/viewed_day=2024-10-04/shard-0003-run-{MADE}.parquet"
    assert file_name("totals", 0, 3, MADE) == f"totals/shard-0003-run-{MADE}.parquet"
    assert file_name("channels", HOUR, 0, MADE) == f"channels/viewed_day=2024-10-04/hour-05-run-{MADE}.parquet"
    assert file_name("top_days", 20_000, 0, MADE) == f"top_days/viewed_day=2024-10-04/run-{MADE}.parquet"


def test_a_slice_lies_where_its_name_says_also_one_of_an_earlier_version() -> None:
    of_hour = "slices/arrival_hour=7/partition=3"
    assert slice_folder(SliceName(7, 3, 2, MADE)) == f"{of_hour}/part=0002-run-{MADE}"
    assert slice_folder(SliceName(7, 3, 2)) == f"{of_hour}/part=0002"
    assert slice_folder(SliceName(7, 3, WHOLE_HOUR)) == of_hour
    # Attempts at the same slice lie apart.
    attempts = {slice_folder(SliceName(7, 3, 0, made_by(token, who))) for token in (1, 2) for who in ("a", "b")}
    assert len(attempts) == 4


@pytest.mark.parametrize(
    "path",
    [
        *(file_name(data_set, HOUR if data_set in HOURLY else 20_000, 3, MADE) for data_set in DATA_SETS),
        *(file_name_of_day(data_set, 20_000, 3, MADE) for data_set in ("minutes", "hours", "countries")),
        part_name("top_days", 3, MADE),
        manifest_name(TOKEN, "5ad1c0de"),
        f"{slice_folder(SliceName(7, 3, 0, MADE))}/slice.json",
        slice_folder(SliceName(7, 3, 12, MADE)),
    ],
)
def test_every_path_tells_by_which_lease_it_was_written(path: str) -> None:
    assert token_in(path) == TOKEN


@pytest.mark.parametrize(
    "path",
    [
        "minutes/viewed_day=2024-10-04/hour-05-shard-0003-run-00000012.parquet",
        "hours/viewed_day=2024-10-04/shard-0003-run-00000012.parquet",
        "channels/viewed_day=2024-10-04/hour-05-run-00000012.parquet",
        "top_days/viewed_day=2024-10-04/run-00000012.parquet",
        "totals/shard-0003-run-00000012.parquet",
        "parts/run-00000012/channels-0003.parquet",
        f"{slice_folder(SliceName(480_005, 3))}/memory.bin",
        f"{slice_folder(SliceName(480_005, 3, WHOLE_HOUR))}/slice.json",
    ],
)
def test_a_path_of_an_earlier_version_is_older_than_every_lease(path: str) -> None:
    assert token_in(path) == 0


@pytest.mark.parametrize(
    "path",
    [
        "hours/viewed_day=2024-10-04/mine.parquet",
        # As many digits as neither a run of before nor a token has.
        "totals/shard-0003-run-000000012.parquet",
        "totals/shard-0003-run-00001764300000123456.parquet",
        "slices/arrival_hour=7/mine/slice.json",
        "manifests/newest.json",
        MANIFEST,
    ],
)
def test_nothing_is_made_of_a_path_that_is_not_historys(path: str) -> None:
    with pytest.raises(ValueError, match=rf"^{path} is no path of history$"):
        token_in(path)


def test_names_of_manifests_are_in_the_order_of_their_tokens() -> None:
    tokens = [0, 9, 10, TOKEN, TOKEN * 10]
    names = [manifest_name(token, attempt) for token, attempt in zip(tokens, "edcba", strict=True)]
    assert names == sorted(names)
    assert [token_of(name) for name in names] == tokens
    assert token_of("") == 0


def test_a_manifest_tells_what_is_missing_by_partition() -> None:
    def slice_with(partition: int, *gaps: tuple[int, int]) -> Counted:
        return Counted(SliceName(7, partition), 0, 99, 8, list(gaps))

    found = msgspec.structs.replace(
        no_history(1),
        counted={0: [slice_with(0, (2, 4), (6, 6)), slice_with(0, (9, 9))], 1: [slice_with(1)], 2: [slice_with(2)]},
        final_missing={0: 10, 2: 1},
    )
    assert found.missing == {0: 15, 2: 1}
    assert no_history(1).missing == {}


def test_a_manifest_names_the_slices_of_hours_those_that_may_be_counted_again_and_the_last() -> None:
    of_hour, again, last = (SliceName(hour, 0, made=MADE) for hour in (5, 6, 7))
    found = msgspec.structs.replace(
        no_history(1), slices={4: [of_hour]}, counted={0: [Counted(again, 0, 9, 7)]}, last_slices={0: last}
    )
    assert found.all_slices == {of_hour, again, last}
    files = {**no_history(1).files, "hours": {1: {0: "a"}, 2: {0: "a", 1: "b"}}, "totals": {0: {0: "c"}}}
    assert msgspec.structs.replace(found, files=files).all_files == {"a", "b", "c"}
