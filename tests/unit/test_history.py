"""What a rollup does next, and what is there after it: arithmetic of hours, slices and manifests."""

import msgspec
import pytest

from settings import CountingSettings, HistorySettings
from settings.durations import HOUR_MS
from udfs.logic.history import (
    Manifest,
    MarkRules,
    PartitionTask,
    ShardResult,
    SliceInfo,
    SliceName,
    complete_hour,
    days_to_mark_again,
    file_name,
    file_name_of_day,
    from_hour,
    marked_by_none,
    no_history,
    plan_of,
    published,
    reason_of,
    rules_of,
    task_of,
    uncertain_hours,
)

LATENESS_MS = 600_000
RULES = CountingSettings()
HISTORY = HistorySettings()


def info(
    hour: int, partition: int, hours_viewed: list[int], next_offset: int = 9, next_hour: int | None = None
) -> SliceInfo:
    return SliceInfo(
        partition=partition,
        hour=hour,
        part=0,
        next_hour=hour + 1 if next_hour is None else next_hour,
        first_offset=0,
        next_offset=next_offset,
        records=1,
        cells=[(shard, viewed, 1) for shard in (0, 1) for viewed in hours_viewed],
        countries=[],
        viewers=[],
        known=[],
        late={},
        tallies={},
        gaps=[],
    )


@pytest.mark.parametrize(
    ("next_hours", "expected"),
    [
        # Of hour 5 there may be more to come; and what arrives in it may be of hour 4, ten minutes ago.
        ({0: 5, 1: 5}, 4),
        ({0: 5, 1: 3}, 2),
        ({0: 5}, 0),
    ],
)
def test_hours_are_complete_before_the_slowest_partition(next_hours: dict[int, int], expected: int) -> None:
    new = [info(next_hour - 1, partition, [], next_hour=next_hour) for partition, next_hour in next_hours.items()]
    assert complete_hour(no_history(2), new, 2, LATENESS_MS) == expected
    # What was complete stays so, and partitions of which nothing is new stand where they stood.
    before = msgspec.structs.replace(no_history(2), through_hour=3, next_hours=next_hours)
    assert complete_hour(before, [], 2, LATENESS_MS) == max(3, expected)


def test_a_lateness_of_an_hour_and_more_waits_for_as_many_hours() -> None:
    new = [info(9, 0, [], next_hour=10)]
    assert complete_hour(no_history(1), new, 1, 2 * HOUR_MS) == 8
    assert complete_hour(no_history(1), new, 1, 2 * HOUR_MS + 1) == 7


def test_what_the_archive_lacks_makes_hours_uncertain_until_what_follows_it_is_forgotten() -> None:
    """The gap may end in hour 13; what was lost in it makes no repeats for two generations, 24 minutes."""
    gap = msgspec.structs.replace(info(10, 0, [9, 10], next_hour=13), gaps=[(4, 6)])
    assert list(uncertain_hours(gap, RULES)) == [9, 10, 11, 12, 13, 14]
    assert list(uncertain_hours(info(20, 0, [20]), RULES)) == []
    assert from_hour(no_history(1), [gap], RULES) == 0


def test_history_begins_where_the_archive_is_whole() -> None:
    lacks_the_first = msgspec.structs.replace(info(10, 0, [5, 10]), gaps=[(0, 6)])
    assert from_hour(no_history(1), [lacks_the_first], RULES) == 13
    before = msgspec.structs.replace(no_history(1), from_hour=15)
    assert from_hour(before, [lacks_the_first], RULES) == 15
    # A late event of hour 5 makes no hour of it.
    plan = plan_of(no_history(1), [lacks_the_first, info(14, 0, [13, 14])], RULES, 1, HISTORY)
    assert (plan.from_hour, plan.through_hour, plan.hours) == (13, 14, [13])


def test_what_is_forgotten_stays_as_it_is_whatever_settings_say() -> None:
    before = msgspec.structs.replace(no_history(1), through_hour=90, forgotten_before=50)
    plan = plan_of(before, [info(98, 0, [40, 60, 95])], RULES, 1, HISTORY)
    assert (plan.through_hour, plan.forgotten_before, plan.hours) == (98, 50, [60, 95])


def test_an_hour_is_counted_once_when_a_later_one_has_begun() -> None:
    assert task_of(2, {5, 3, 6}, None) == PartitionTask(2, [3, 5], 6)
    assert task_of(2, {3, 5, 6}, 3) == PartitionTask(2, [5], 6)
    assert task_of(2, {3, 5, 6}, 5) is None
    assert task_of(2, {3}, None) is None
    assert task_of(2, set(), None) is None


def test_what_is_counted_is_new_or_changed_and_complete() -> None:
    before = msgspec.structs.replace(no_history(2), through_hour=5, slices={4: [SliceName(4, 0)], 5: [SliceName(5, 0)]})
    plan = plan_of(before, [info(6, 0, [2, 5, 6, 7], next_hour=8), info(7, 1, [6])], RULES, 2, HISTORY)
    # 2 is late, 5 and 6 are complete now, 4 is as it was, 7 is not complete.
    assert plan.hours == [2, 5, 6]
    assert plan.days == [0]
    assert plan.slices[5] == [SliceName(5, 0), SliceName(6, 0)]
    assert plan.slices[6] == [SliceName(6, 0), SliceName(7, 1)]


def test_viewers_of_a_day_are_counted_when_it_is_complete_and_when_it_changes_no_more() -> None:
    counted, final = [], []
    manifest = no_history(1)
    for hour in range(100):
        # The last of what arrives is of the hour before, and of 30 hours ago.
        new = [info(hour, 0, [viewed for viewed in (hour, hour - 1, hour - 30) if viewed >= 0])]
        plan = plan_of(manifest, new, RULES, 1, HistorySettings(late_hours=40))
        counted += [(hour, day) for day in plan.viewer_days]
        final += [(hour, day) for day in plan.final_days]
        manifest = published(manifest, plan, [ShardResult(0, new, {})], {}, RULES)
        # Of a day that is still to be counted again all slices are there.
        first = 24 * (manifest.forgotten_before // 24)
        assert set(range(max(first, 0), hour + 1)) <= set(manifest.slices)
    # Complete with the hour after it, forgotten 40 hours after that.
    assert counted == [(24, 0), (48, 1), (64, 0), (72, 2), (88, 1), (96, 3)]
    assert final == [(64, 0), (88, 1)]


def test_days_that_other_rules_marked_are_marked_again_while_their_viewers_are_known() -> None:
    rules, others = HistorySettings(late_hours=40), HistorySettings(late_hours=40, viewer_day_max=0)
    manifest = no_history(1)
    assert days_to_mark_again(manifest, rules_of(rules)) == []
    for hour in range(100):
        new = [info(hour, 0, [hour])]
        manifest = published(manifest, plan_of(manifest, new, RULES, 1, rules), [ShardResult(0, new, {})], {}, RULES)
        assert days_to_mark_again(manifest, rules_of(rules)) == []
    # Day 1 has been marked for good, day 2 is complete, and so is day 3; day 4 is not.
    assert (manifest.through_hour, manifest.forgotten_before) == (99, 59)
    assert manifest.marked_by == dict.fromkeys(range(4), rules_of(rules))
    assert days_to_mark_again(manifest, rules_of(others)) == [2, 3]
    plan = plan_of(manifest, [], RULES, 1, others)
    assert (plan.run, plan.hours, plan.viewer_days, plan.final_days) == (101, [], [2, 3], [])
    assert plan.complete_days == [2, 3]
    # An attempt at this, which ended half-way before the rules were put back.
    begun = marked_by_none(manifest, [2, 3])
    assert plan_of(begun, [], RULES, 1, rules).viewer_days == [2, 3]
    after = published(begun, plan_of(begun, [], RULES, 1, others), [ShardResult(0, [], {})], {}, RULES)
    assert after.marked_by == {**dict.fromkeys(range(2), rules_of(rules)), **dict.fromkeys((2, 3), rules_of(others))}
    assert (after.run, after.slices, after.next_offsets) == (101, manifest.slices, manifest.next_offsets)
    assert days_to_mark_again(after, rules_of(others)) == []
    # Beside what is new, and late.
    plan = plan_of(after, [info(100, 0, [70, 100])], RULES, 1, rules)
    assert (plan.hours, plan.viewer_days, plan.complete_days) == ([70, 99], [2, 3], [2, 3])


def test_a_change_of_a_days_numbers_has_a_reason() -> None:
    rules = HistorySettings(late_hours=60)
    marked_by = {0: rules_of(rules), 1: MarkRules(1, 1), 2: rules_of(rules)}
    before = msgspec.structs.replace(
        no_history(1), through_hour=95, forgotten_before=20, marked_by=marked_by,
        slices={hour: [SliceName(hour, 0)] for hour in range(96)},
    )  # fmt: skip
    plan = plan_of(before, [info(96, 0, [60, 95, 96])], RULES, 1, rules)
    assert (plan.complete_days, plan.days) == ([0, 1, 2, 3], [2, 3])
    assert [reason_of(before, plan, day) for day in plan.complete_days] == [
        "day final",
        "rules changed",
        "late events",
        "day complete",
    ]


def test_who_was_found_is_forgotten_with_the_slices() -> None:
    files = {**no_history(1).files, "suspects": {day: {0: f"{day}"} for day in range(4)}, "marks": {0: {0: "kept"}}}
    before = msgspec.structs.replace(
        no_history(1), through_hour=99, last_slices={0: SliceName(99, 0)}, files=files, slices={90: [SliceName(90, 0)]}
    )
    plan = plan_of(before, [info(100, 0, [100])], RULES, 1, HistorySettings(late_hours=40))
    after = published(before, plan, [ShardResult(0, [info(100, 0, [100])], {})], {}, RULES)
    assert after.forgotten_before == 60
    assert after.files["suspects"] == {2: {0: "2"}, 3: {0: "3"}}
    assert after.files["marks"] == {0: {0: "kept"}}


def test_a_published_manifest_names_the_newest_files_and_forgets_what_no_event_can_change() -> None:
    nothing = no_history(2)
    old = {name: {3: {0: f"{name}-old", 1: f"{name}-old-1"}} for name in nothing.files}
    before = msgspec.structs.replace(
        nothing,
        run=4,
        through_hour=5,
        last_slices={0: SliceName(99, 0), 1: SliceName(99, 1, 2)},
        next_offsets={0: 7, 1: 8},
        next_hours={0: 100, 1: 100},
        gap_hours=[7],
        slices={60: [SliceName(60, 0)], 75: [SliceName(75, 0)], 99: [SliceName(99, 1)]},
        files=old,
    )
    # Of hour 100, partition 1 has two slices.
    second = msgspec.structs.replace(info(100, 1, [100], 21), part=1)
    new = [info(101, 0, [101], 30), info(100, 0, [100], 20), second, info(100, 1, [100], 15, next_hour=100)]
    results = [ShardResult(shard, new, {"minutes": {100: f"new-{shard}"}}) for shard in (1, 0)]
    plan = plan_of(before, new, RULES, 2, HistorySettings(late_hours=5))
    after = published(before, plan, results, {"channels": {100: "new"}}, RULES)
    assert (after.run, after.through_hour, after.forgotten_before) == (5, 100, 95)
    assert after.last_slices == {0: SliceName(101, 0), 1: SliceName(100, 1, 1)}
    assert after.last_hours == {0: 101, 1: 100}
    assert after.next_offsets == {0: 30, 1: 21}
    assert after.next_hours == {0: 102, 1: 101}
    assert after.gap_hours == [7]
    assert after.files["minutes"] == {**old["minutes"], 100: {0: "new-0", 1: "new-1"}}
    assert after.files["channels"] == {**old["channels"], 100: {0: "new"}}
    assert after.files["hours"] == old["hours"]
    # Hour 95 is of a day that still changes, and begins with hour 72.
    assert set(after.slices) == {75, 99, 100, 101}
    assert msgspec.json.decode(msgspec.json.encode(after), type=Manifest) == after


def test_files_lie_as_hive_has_it() -> None:
    hour = 24 * 20_000 + 5
    assert file_name("minutes", hour, 3, 12) == (
        "minutes/viewed_day=2024-10-04/hour-05-shard-0003-run-00000012.parquet"
    )
    assert file_name_of_day("hours", 20_000, 3, 12) == "hours/viewed_day=2024-10-04/shard-0003-run-00000012.parquet"
    assert file_name("days", 20_000, 3, 12) == "days/viewed_day=2024-10-04/shard-0003-run-00000012.parquet"
    assert file_name("totals", 0, 3, 12) == "totals/shard-0003-run-00000012.parquet"
    assert file_name("channels", hour, 0, 12) == "channels/viewed_day=2024-10-04/hour-05-run-00000012.parquet"
    assert file_name("top_days", 20_000, 0, 12) == "top_days/viewed_day=2024-10-04/run-00000012.parquet"
