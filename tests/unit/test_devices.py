"""Views by device: what is a device, how many a slice names, and days that versions without devices counted in part."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import registry
from tests.support.local_rollup import LocalRollup
from tests.support.random_streams import NOW_MS, RULES
from tests.support.records import salt_of
from udfs.logic.slices.devices import DEVICES_MAX, OTHER
from udfs.logic.slices.slice_counts import SliceCounter
from udfs.logic.stream.block_table import Viewers
from udfs.stages.shard_tables import ShardTables

HOUR_MS = 3_600_000
FIRST_DAY = NOW_MS // (24 * HOUR_MS)
# By the device that events name, how many there are.
Sent = Mapping[str | None, int]


class Log:
    """Makes records of one video, of which no two have the same event."""

    def __init__(self) -> None:
        self._made = 0

    def hour(self, hour: int, sent: Sent, viewed_in: int | None = None) -> Iterator[tuple[int, int, bytes]]:
        """(record_ms, salt, value) of each salt, at the middle of an hour after NOW_MS."""
        now_ms = NOW_MS + hour * HOUR_MS + HOUR_MS // 2
        viewed_ms = now_ms if viewed_in is None else NOW_MS + viewed_in * HOUR_MS
        events = [self._event(device, viewed_ms) for device, number in sent.items() for _ in range(number)]
        for salt in range(RULES.salts):
            yield now_ms, salt, _encoded(salt, events, now_ms)

    def _event(self, device: str | None, viewed_ms: int) -> dict[str, object]:
        self._made += 1
        identity = uuid.uuid5(uuid.NAMESPACE_OID, f"device {self._made}").bytes
        return {"event_id": identity, "video_id": "v", "kind": "view", "viewed_at": viewed_ms, "device": device}


def _encoded(salt: int, events: Iterable[dict[str, Any]], now_ms: int) -> bytes:
    mine = [event for event in events if salt_of(event["event_id"], RULES.salts) == salt]
    batch = {"batch_id": bytes(16), "producer_id": "test", "salt": salt, "salts": RULES.salts, "produced_at": now_ms}
    return registry.encode("ViewBatch", {**batch, "events": mine})


def of_slice(sent: Sent) -> dict[str, int]:
    """What one slice of these events says of devices."""
    counter = SliceCounter(
        RULES,
        partition=0,
        partitions=1,
        blocks=Viewers().anew().table(),
        late_ms_max=HOUR_MS,
        viewed_ms_min=0,
        dedups={},
    )
    for now_ms, salt, value in Log().hour(0, sent):
        counter.count(salt.to_bytes(4, "big"), value, now_ms)
    found = Counter[str]()
    for row in counter.finish(lambda _hour, _ids: ()).sums.countries.to_pylist():
        found[row["device"]] += row["views"]
    return dict(found)


def of_days(rollup: LocalRollup) -> dict[int, dict[str, int]]:
    """By day since NOW_MS the views by device; each row is a device of its own."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for day, of in rollup.manifest().files["devices"].items():
        for path in of.values():
            for row in rollup.store.get(path).to_pylist():
                assert (row["video_id"], row["kind"]) == ("v", "view")
                assert row["device"] not in found[day - FIRST_DAY]
                found[day - FIRST_DAY][row["device"]] = row["views"]
    return dict(found)


def forget_devices(rollup: LocalRollup) -> None:
    """Let everything be as code has written it that knows no devices."""
    root = rollup.root / "history"
    for path in (root / "manifests").glob("*.json"):
        manifest = msgspec.json.decode(path.read_bytes())
        manifest["files"].pop("devices", None)
        path.write_bytes(msgspec.json.encode(manifest))
    forget_devices_of_slices(root)


def forget_devices_of_slices(root: Path) -> None:
    for path in root.rglob("countries.parquet"):
        with pq.ParquetFile(path) as reader:
            groups = [reader.read_row_group(group) for group in range(reader.num_row_groups)]
        without = [one.drop_columns(["device"]) for one in groups if "device" in one.column_names]
        if not without:
            continue
        with pq.ParquetWriter(path, without[0].schema) as writer:
            for one in without:
                writer.write_table(one)


@pytest.mark.parametrize(
    ("sent", "device"),
    [
        ("tv", "tv"),
        ("Set-Top_Box 2.0", "set-top_box 2.0"),
        ("d" * 32, "d" * 32),
        ("d" * 33, ""),
        ("", ""),
        (None, ""),
        ("téléphone", ""),
        ("tv/1", ""),
        ("tv\n", ""),
        ("tv\x00", ""),
    ],
)
def test_a_device_is_a_short_name_in_lower_case(sent: str | None, device: str) -> None:
    assert of_slice({sent: 2}) == {device: 2}


def test_a_slice_names_the_most_viewed_devices_and_counts_all() -> None:
    sent: dict[str | None, int] = {f"rare-{n}": 1 for n in range(7)}
    sent |= {f"device-{n}": 2 for n in range(DEVICES_MAX)}
    assert of_slice(sent) == {f"device-{n}": 2 for n in range(DEVICES_MAX)} | {OTHER: 7}
    # A client's own word for it is the same device; as one of the most viewed ones it takes a place.
    with_others = of_slice({**sent, "Other": 3, None: 4})
    assert with_others[OTHER] == 7 + 3 + 2
    assert with_others[""] == 4
    assert sum(with_others.values()) == sum(sent.values()) + 3 + 4


@pytest.mark.slow
def test_views_by_device_are_those_of_the_day_with_late_ones(tmp_path: Path) -> None:
    rollup, log = LocalRollup(tmp_path, RULES, {}), Log()
    rollup.archive(log.hour(1, {"tv": 3, "Phone": 2, None: 1}))
    rollup.archive(log.hour(23, {"tv": 1}))
    rollup.archive(log.hour(24, {"tablet": 5}))
    rollup.run()
    assert of_days(rollup) == {0: {"tv": 3, "phone": 2, "": 1}}
    # Of an hour that was counted; of the last hour of a day, and the first of another.
    rollup.archive(log.hour(25, {"tv": 4, "watch": 2}, viewed_in=1))
    rollup.archive(log.hour(26, {}))
    rollup.archive(log.hour(27, {}))
    rollup.run()
    assert of_days(rollup) == {0: {"tv": 8, "phone": 2, "watch": 2, "": 1}, 1: {"tablet": 5}}


@pytest.mark.slow
def test_of_a_day_that_was_begun_without_devices_what_came_before_is_by_no_known_one(tmp_path: Path) -> None:
    rollup, log = LocalRollup(tmp_path, RULES, {}), Log()
    for hour in (1, 25, 26, 27):
        rollup.archive(log.hour(hour, {"tv": 3}))
    rollup.run()
    forget_devices(rollup)
    assert rollup.manifest().files["devices"] == {}
    rollup.archive(log.hour(28, {"tv": 1, "phone": 2}))
    rollup.archive(log.hour(29, {"tv": 5}, viewed_in=25))
    rollup.archive(log.hour(30, {}))
    rollup.run()
    # Hour 25 had been counted, and the slice of hour 26, but not that of 27. Of day 0 nothing changed.
    assert of_days(rollup) == {1: {"tv": 9, "phone": 2, "": 6}}


@pytest.mark.slow
def test_what_a_version_without_devices_counts_in_between_is_by_no_known_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollup, log = LocalRollup(tmp_path, RULES, {}), Log()
    for hour in (1, 2, 3):
        rollup.archive(log.hour(hour, {"tv": 3}))
    rollup.run()
    put = ShardTables._put

    def put_others(self: ShardTables, data_set: str, at: int, table: pa.Table) -> None:
        if data_set != "devices":
            put(self, data_set, at, table)

    with monkeypatch.context() as patch:
        patch.setattr(ShardTables, "_put", put_others)
        rollup.archive(log.hour(4, {"tv": 3}))
        rollup.archive(log.hour(5, {"phone": 2}))
        rollup.run()
    # It names the file of before.
    assert of_days(rollup) == {0: {"tv": 3}}
    forget_devices_of_slices(tmp_path / "history")
    rollup.archive(log.hour(6, {"phone": 4}))
    rollup.archive(log.hour(7, {}))
    rollup.archive(log.hour(8, {}))
    rollup.run()
    # It had counted hours 2 and 3, and the slice of hour 4.
    assert of_days(rollup) == {0: {"tv": 3, "phone": 6, "": 9}}
