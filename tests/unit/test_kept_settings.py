"""State and history know their settings: each setting is in one list, and others are refused by a sentence."""

import struct
from types import SimpleNamespace

import pytest

from settings import CountingSettings, KafkaSettings, Settings
from settings.kept import FREE, OF_HISTORY, OF_STATE, Change, groups, values_of, variable
from tests.support.random_streams import NOW_MS, RULES
from udfs.logic.stream.kept_settings import KeptSettings, SettingsRefusedError, decode, of_history, of_state
from udfs.logic.stream.ledger import Tally
from udfs.logic.stream.window import VERSION, ShardWindow
from udfs.sinks.kept_settings import check_submitted, check_upgrade, keep_submitted


def test_each_setting_of_what_counts_is_said_to_be_fixed_or_free() -> None:
    named = {*OF_STATE, *OF_HISTORY}
    for group, free in FREE.items():
        fields = set(groups()[group].model_fields)
        kept = {name.split(".")[1] for name in named if name.startswith(f"{group}.")}
        assert not kept & free, group
        assert kept | free == fields, group
    assert {name.split(".")[0] for name in named} <= FREE.keys()
    # What these do to counts they do before an event is in Kafka, or after it was counted.
    assert groups().keys() - FREE.keys() == {
        "access",
        "limits",
        "pack",
        "s3",
        "redis",
        "ingest",
        "query",
        "overflow",
        "drain",
    }
    assert set(values_of(Settings(), OF_STATE)) == set(OF_STATE)


def kept(changes: dict[str, int], *, accepts: bool = False) -> KeptSettings:
    counting = CountingSettings(**{"generation_ms": 20 * 60_000, **changes})
    return of_state(Settings(counting=counting), accepts=accepts)


BEFORE = kept({}).values


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"generation_ms": 780_000}, "generation_ms=1200000, and the settings say 780000, which is fixed"),
        ({"shards": 16}, "shards=8, and the settings say 16, which is fixed"),
        ({"salts": 32}, "salts=16, and the settings say 32, which is fixed"),
        ({"max_parallelism": 256}, "max_parallelism=128, and the settings say 256, which is fixed"),
        ({"lateness_ms": 660_000}, "lateness_ms=600000, and the settings say 660000, which may only fall"),
    ],
)
def test_another_is_refused_also_when_asked_for(changes: dict[str, int], refusal: str) -> None:
    back = f"set VIEW_COUNTS_COUNTING_{refusal.split(',', maxsplit=1)[0].upper()}"
    for accepts in (False, True):
        with pytest.raises(SettingsRefusedError) as refused:
            kept(changes, accepts=accepts).check(BEFORE, "the state")
        assert str(refused.value).startswith(f"the state was made by counting.{refusal}: {back}")


def test_all_differences_are_said_at_once() -> None:
    with pytest.raises(SettingsRefusedError, match=r"salts=16.*; .*shards=8"):
        kept({"salts": 32, "shards": 16}).check(BEFORE, "the state")


def test_what_may_fall_falls_and_what_is_asked_for_changes() -> None:
    assert kept({"lateness_ms": 9 * 60_000}).check(BEFORE, "the state") == [
        "the state was made by counting.lateness_ms=600000, and goes on under 540000"
    ]
    with pytest.raises(SettingsRefusedError, match=r"or give --accept-settings once if it is to change"):
        kept({"clock_ahead_ms": 900_000}).check(BEFORE, "the state")
    assert len(kept({"clock_ahead_ms": 900_000}, accepts=True).check(BEFORE, "the state")) == 1
    assert kept({"future_skew_ms": 0}).check(BEFORE, "the state") == []


def test_what_an_old_one_does_not_say_is_accepted_by_name_and_what_it_says_is_compared() -> None:
    partitions = of_history(Settings(kafka=KafkaSettings(partitions=8)))
    shown = {name: value for name, value in of_history(Settings()).values.items() if name != "kafka.partitions"}
    with pytest.raises(SettingsRefusedError) as refused:
        partitions.check(shown, "history")
    assert str(refused.value) == (
        "history does not say that it was made by VIEW_COUNTS_KAFKA_PARTITIONS=8: if it was, give --accept-settings "
        "once, or else set what it was made by"
    )
    accepted = of_history(Settings(kafka=KafkaSettings(partitions=8)), accepts=True)
    assert accepted.check(shown, "history") == [
        "history does not say by which kafka.partitions it was made, and goes on under 8"
    ]
    with pytest.raises(SettingsRefusedError, match=r"counting.shards=9, and the settings say 8, which is fixed"):
        accepted.check({**shown, "counting.shards": 9}, "history")


def test_what_is_written_is_read_by_name() -> None:
    assert decode(of_state(Settings()).encode()) == of_state(Settings()).values
    assert variable("counting.generation_ms") == "VIEW_COUNTS_COUNTING_GENERATION_MS"
    assert {*OF_STATE.values(), *OF_HISTORY.values()} == set(Change)


class Table:
    """kept_settings, of one row."""

    def __init__(self) -> None:
        self.settings: str | None = None

    def execute(self, statement: str, values: tuple[str, ...]) -> SimpleNamespace:
        if statement.startswith("INSERT"):
            _, self.settings = values
        row = None if self.settings is None else SimpleNamespace(settings=self.settings)
        return SimpleNamespace(one=lambda: row)


def test_an_upgrade_is_refused_before_anything_stops_and_a_submission_is_kept_for_the_next() -> None:
    table = Table()
    with pytest.raises(SettingsRefusedError, match=r"the state of the count job does not say .*COUNTING_SALTS=16"):
        check_upgrade(table, kept({}))
    check_upgrade(table, kept({}, accepts=True))
    assert check_submitted(table, kept({})) is None
    keep_submitted(table, kept({}))
    check_upgrade(table, kept({}))
    assert check_submitted(table, kept({})) == []
    for check in (check_upgrade, check_submitted):
        with pytest.raises(SettingsRefusedError, match=r"the state of the count job was made by counting\.shards=8"):
            check(table, kept({"shards": 16}, accepts=True))


# Versions of windows, and how many numbers follow the minute in each of their tallies. Append only.
FATES = {1: 0, 2: 9, 3: 10}


def old_window(version: int, salts: int, tallies: int) -> bytes:
    """As each version writes it, byte by byte."""
    head = struct.pack("<Bqq", version, 7, -1) + struct.pack(f"<{salts}q", *range(NOW_MS, NOW_MS + salts))
    fates = FATES[version]
    return head + b"".join(struct.pack(f"<h{1 + fates}q", n, NOW_MS // 60_000, *[n] * fates) for n in range(tallies))


def test_no_version_of_windows_is_left_out() -> None:
    assert list(FATES) == list(range(1, VERSION + 1))


@pytest.mark.parametrize(
    ("version", "tallies"),
    [(version, tallies) for version in FATES for tallies in ((0,) if version == 1 else (0, 1, 4))],
)
def test_windows_of_every_version_show_their_salts_by_their_frontiers(version: int, tallies: int) -> None:
    window = ShardWindow(RULES)
    window.restore(old_window(version, RULES.salts, tallies), [])
    assert window.newest_append_ms == NOW_MS + RULES.salts - 1
    assert dict(window.emit().tallies) == {n: Tally(NOW_MS // 60_000, *[n] * FATES[version]) for n in range(tallies)}
    # And what it writes is read again.
    again = ShardWindow(RULES)
    again.restore(window.header(), [])
    assert again.newest_append_ms == window.newest_append_ms
    for salts in (1, 2, 3, 5, 8, 16, 32):
        with pytest.raises(
            SettingsRefusedError, match=rf"counting.salts.*the settings say {RULES.salts}, which is fixed"
        ):
            window.restore(old_window(version, salts, tallies), [])
    with pytest.raises(SettingsRefusedError, match=r"made by counting\.salts=8, and the settings say 4"):
        window.restore(old_window(version, 8, 1 if version > 1 else 0), [])
