"""What a rollup does next, and what is there after it: arithmetic of hours, slices and manifests."""

from collections.abc import Mapping, Sequence

import msgspec
import pytest

from settings import CountingSettings, HistorySettings
from settings.durations import HOUR_MS
from udfs.logic.history.manifest import Manifest, MarkRules, Owed, SliceInfo, SliceName, no_history, rules_of
from udfs.logic.history.rollup_plan import (
    PartitionTask,
    Plan,
    Recount,
    ShardResult,
    complete_hour,
    days_to_mark_again,
    from_hour,
    may_be_mended,
    plan_of,
    published,
    reason_of,
    since_last,
    slices_again,
    task_of,
    uncertain_hours,
    without,
)

LATENESS_MS = 600_000
RULES = CountingSettings()
HISTORY = HistorySettings(late_file_hours=0)


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


def after(
    before: Manifest,
    new: list[SliceInfo],
    history: HistorySettings,
    again: Sequence[SliceName] = (),
    partitions: int = 1,
) -> Manifest:
    """The manifest after a rollup that counted these; of no files."""
    counted = [Recount(new, list(again))]
    plan = plan_of(before, counted, RULES, partitions, history)
    return publish(before, plan, [ShardResult(0, counted, {})], history)


def publish(
    before: Manifest,
    plan: Plan,
    results: list[ShardResult],
    history: HistorySettings,
    of_all_shards: Mapping[str, Mapping[int, str]] | None = None,
    token: int = 7,
) -> Manifest:
    return published(
        before, "manifests/before", plan, results, of_all_shards or {}, RULES, history, token=token, made_ms=1_000
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
    plan = plan_of(no_history(1), [Recount([lacks_the_first, info(14, 0, [13, 14])])], RULES, 1, HISTORY)
    assert (plan.from_hour, plan.through_hour, plan.hours) == (13, 14, [13])


def test_what_is_forgotten_stays_as_it_is_whatever_settings_say() -> None:
    before = msgspec.structs.replace(no_history(1), through_hour=90, forgotten_before=50)
    plan = plan_of(before, [Recount([info(98, 0, [40, 60, 95])])], RULES, 1, HISTORY)
    assert (plan.through_hour, plan.forgotten_before, plan.hours) == (98, 50, [60, 95])


def test_an_hour_is_counted_once_when_a_later_one_has_begun() -> None:
    assert task_of(2, {5, 3, 6}, None) == PartitionTask(2, [3, 5], 6)
    assert task_of(2, {3, 5, 6}, 3) == PartitionTask(2, [5], 6)
    assert task_of(2, {3, 5, 6}, 5) is None
    assert task_of(2, {3}, None) is None
    assert task_of(2, set(), None) is None


def test_what_is_counted_is_new_or_changed_and_complete() -> None:
    before = msgspec.structs.replace(no_history(2), through_hour=5, slices={4: [SliceName(4, 0)], 5: [SliceName(5, 0)]})
    new = [Recount([info(6, 0, [2, 5, 6, 7], next_hour=8)]), Recount([info(7, 1, [6])])]
    plan = plan_of(before, new, RULES, 2, HISTORY)
    # 2 is late, 5 and 6 are complete now, 4 is as it was, 7 is not complete.
    assert plan.hours == [2, 5, 6]
    assert plan.days == [0]
    assert plan.slices[5] == [SliceName(5, 0), SliceName(6, 0)]
    assert plan.slices[6] == [SliceName(6, 0), SliceName(7, 1)]


def test_viewers_of_a_day_are_counted_when_it_is_complete_and_when_it_changes_no_more() -> None:
    counted, final = [], []
    manifest, rules = no_history(1), HistorySettings(late_hours=40, late_file_hours=0)
    for hour in range(100):
        # The last of what arrives is of the hour before, and of 30 hours ago.
        new = [info(hour, 0, [viewed for viewed in (hour, hour - 1, hour - 30) if viewed >= 0])]
        plan = plan_of(manifest, [Recount(new)], RULES, 1, rules)
        counted += [(hour, day) for day in plan.viewer_days]
        final += [(hour, day) for day in plan.final_days]
        manifest = publish(manifest, plan, [ShardResult(0, [Recount(new)], {})], rules)
        # Of a day that is still to be counted again all slices are there.
        first = 24 * (manifest.forgotten_before // 24)
        assert set(range(max(first, 0), hour + 1)) <= set(manifest.slices)
    # Complete with the hour after it, forgotten 40 hours after that.
    assert counted == [(24, 0), (48, 1), (64, 0), (72, 2), (88, 1), (96, 3)]
    assert final == [(64, 0), (88, 1)]


def test_days_that_other_rules_marked_are_marked_again_while_their_viewers_are_known() -> None:
    rules = HistorySettings(late_hours=40, late_file_hours=0)
    others = HistorySettings(late_hours=40, late_file_hours=0, viewer_day_max=0)
    manifest = no_history(1)
    assert days_to_mark_again(manifest, rules_of(rules)) == []
    for hour in range(100):
        manifest = after(manifest, [info(hour, 0, [hour])], rules)
        assert days_to_mark_again(manifest, rules_of(rules)) == []
    # Day 1 has been marked for good, day 2 is complete, and so is day 3; day 4 is not.
    assert (manifest.through_hour, manifest.forgotten_before) == (99, 59)
    assert manifest.marked_by == dict.fromkeys(range(4), rules_of(rules))
    assert days_to_mark_again(manifest, rules_of(others)) == [2, 3]
    plan = plan_of(manifest, [], RULES, 1, others)
    assert (plan.run, plan.hours, plan.viewer_days, plan.final_days) == (101, [], [2, 3], [])
    assert plan.complete_days == [2, 3]
    # An attempt at this that publishes nothing leaves nothing to mark when the rules are put back.
    assert plan_of(manifest, [], RULES, 1, rules).viewer_days == []
    marked = publish(manifest, plan, [ShardResult(0, [Recount()], {})], others)
    assert marked.marked_by == {**dict.fromkeys(range(2), rules_of(rules)), **dict.fromkeys((2, 3), rules_of(others))}
    assert (marked.run, marked.slices, marked.next_offsets) == (101, manifest.slices, manifest.next_offsets)
    assert marked.owed == Owed(viewer_days=[2, 3], reasons=dict.fromkeys((2, 3), "rules changed"))
    assert days_to_mark_again(marked, rules_of(others)) == []
    # Beside what is new, and late.
    plan = plan_of(marked, [Recount([info(100, 0, [70, 100])])], RULES, 1, rules)
    assert (plan.hours, plan.viewer_days, plan.complete_days) == ([70, 99], [2, 3], [2, 3])


def test_a_change_of_a_days_numbers_has_a_reason() -> None:
    rules = HistorySettings(late_hours=60, late_file_hours=0)
    marked_by = {0: rules_of(rules), 1: MarkRules(1, 1), 2: rules_of(rules)}
    before = msgspec.structs.replace(
        no_history(1), through_hour=95, forgotten_before=20, marked_by=marked_by,
        slices={hour: [SliceName(hour, 0)] for hour in range(96)},
    )  # fmt: skip
    plan = plan_of(before, [Recount([info(96, 0, [60, 95, 96])])], RULES, 1, rules)
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
    manifest = after(before, [info(100, 0, [100])], HistorySettings(late_hours=40, late_file_hours=0))
    assert manifest.forgotten_before == 60
    assert manifest.files["suspects"] == {2: {0: "2"}, 3: {0: "3"}}
    assert manifest.files["marks"] == {0: {0: "kept"}}


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
        final_gap_hours=[7],
        slices={60: [SliceName(60, 0)], 75: [SliceName(75, 0)], 99: [SliceName(99, 1)]},
        files=old,
    )
    # Of hour 100, partition 1 has two slices.
    second = msgspec.structs.replace(info(100, 1, [100], 21), part=1)
    new = [
        Recount([info(101, 0, [101], 30), info(100, 0, [100], 20)]),
        Recount([second, info(100, 1, [100], 15, next_hour=100)]),
    ]
    results = [ShardResult(shard, new, {"minutes": {100: f"new-{shard}"}}) for shard in (1, 0)]
    rules = HistorySettings(late_hours=5, late_file_hours=0)
    plan = plan_of(before, new, RULES, 2, rules)
    manifest = publish(before, plan, results, rules, {"channels": {100: "new"}}, token=12)
    assert (manifest.token, manifest.before, manifest.made_ms) == (12, "manifests/before", 1_000)
    assert (manifest.run, manifest.through_hour, manifest.forgotten_before) == (5, 100, 95)
    assert manifest.last_slices == {0: SliceName(101, 0), 1: SliceName(100, 1, 1)}
    assert manifest.last_hours == {0: 101, 1: 100}
    assert manifest.next_offsets == {0: 30, 1: 21}
    assert manifest.next_hours == {0: 102, 1: 101}
    assert manifest.gap_hours == [7]
    assert manifest.files["minutes"] == {**old["minutes"], 100: {0: "new-0", 1: "new-1"}}
    assert manifest.files["channels"] == {**old["channels"], 100: {0: "new"}}
    assert manifest.files["hours"] == old["hours"]
    # Hour 95 is of a day that still changes, and begins with hour 72.
    assert set(manifest.slices) == {75, 99, 100, 101}
    assert msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest) == manifest


# --- what is archived late


MENDABLE = HistorySettings(late_hours=40, late_file_hours=3)


def lacking(hour: int, *gaps: tuple[int, int], viewed: list[int] | None = None, first: int | None = None) -> SliceInfo:
    """A slice of ten offsets of the only partition, without some of them."""
    at = hour * 10 if first is None else first
    return msgspec.structs.replace(
        info(hour, 0, [hour] if viewed is None else viewed, hour * 10 + 10),
        first_offset=at,
        gaps=list(gaps),
        archive_files=4,
        archive_bytes=40,
    )


def anew(one: SliceInfo) -> SliceInfo:
    """Counted again, with all that it lacked."""
    return msgspec.structs.replace(one, gaps=[], made="again")


def hours_counted(*infos: SliceInfo, history: HistorySettings = MENDABLE) -> Manifest:
    manifest = no_history(1)
    for one in infos:
        manifest = after(manifest, [one], history)
    return manifest


def test_a_manifest_remembers_the_slices_that_may_be_mended_and_the_one_before_them() -> None:
    manifest = hours_counted(*(lacking(hour, *([(63, 65)] if hour == 6 else [])) for hour in range(8)))
    # Up to three hours before the last, and the one whose memory goes into the first of these.
    assert [one.name.hour for one in manifest.counted[0]] == [3, 4, 5, 6, 7]
    assert [(one.gaps, one.files, one.bytes) for one in manifest.counted[0][2:]] == [
        ([], 0, 0), ([(63, 65)], 4, 40), ([], 0, 0),
    ]  # fmt: skip
    assert manifest.missing == {0: 3}
    assert manifest.gap_hours == list(uncertain_hours(manifest.counted[0][3], RULES))
    assert (manifest.final_gap_hours, manifest.final_missing) == ([], {})
    assert may_be_mended(manifest, 0, MENDABLE) == [manifest.counted[0][3]]
    assert may_be_mended(manifest, 0, HistorySettings(late_file_hours=0)) == []
    assert may_be_mended(manifest, 1, MENDABLE) == []


def test_gaps_are_for_good_when_the_time_for_late_files_has_passed() -> None:
    infos = [lacking(hour, *([(20, 21), (25, 25)] if hour == 2 else [])) for hour in range(9)]
    uncertain = list(uncertain_hours(infos[2], RULES))
    missing, for_good, gap_hours = [], [], []
    manifest = no_history(1)
    for one in infos:
        manifest = after(manifest, [one], MENDABLE)
        missing.append(manifest.missing)
        for_good.append((manifest.final_gap_hours, manifest.final_missing))
        gap_hours.append(manifest.gap_hours)
    # It may be mended until hour 5; then it is remembered as the one before those that may be.
    assert missing == [{}] * 2 + [{0: 3}] * 7
    assert gap_hours == [[]] * 2 + [uncertain] * 7
    assert for_good == [([], {})] * 7 + [(uncertain, {0: 3})] * 2
    assert may_be_mended(hours_counted(*infos[:6]), 0, MENDABLE) != []
    assert may_be_mended(hours_counted(*infos[:7]), 0, MENDABLE) == []


def test_from_the_mended_slices_hour_on_all_are_counted_again() -> None:
    """What dedup remembers is kept by the hour, so that the parts of an hour are counted again together."""
    second = msgspec.structs.replace(lacking(6, (66, 66), first=65), part=1)
    first = msgspec.structs.replace(lacking(6), next_offset=65, next_hour=6)
    manifest = after(hours_counted(lacking(4), lacking(5)), [first, second], MENDABLE)
    manifest = after(manifest, [lacking(7)], MENDABLE)
    (mended,) = may_be_mended(manifest, 0, MENDABLE)
    again = slices_again(manifest.counted[0], mended)
    assert again == [SliceName(6, 0), SliceName(6, 0, 1), SliceName(7, 0)]
    # With the memory of hour 5, from the first record after it.
    assert since_last(manifest, 0, again) == (60, SliceName(5, 0))
    assert since_last(manifest, 0) == (80, SliceName(7, 0))
    assert since_last(manifest, 1) == (0, None)
    # And what is closed by now with them.
    assert task_of(0, range(10), 7, again) == PartitionTask(0, [6, 7, 8], 9, again)
    # However few hours are counted at once, those are.
    assert task_of(0, range(13), 7, again, before_hour=10) == PartitionTask(0, [6, 7, 8, 9], 12, again)
    assert task_of(0, range(13), 7, again, before_hour=3) == PartitionTask(0, [6, 7], 12, again)
    assert task_of(0, range(13), 7, before_hour=10) == PartitionTask(0, [8, 9], 12)
    assert task_of(0, range(13), 7, before_hour=8) is None


def test_the_first_slice_is_counted_again_without_a_memory() -> None:
    manifest = hours_counted(lacking(0, (3, 3)), lacking(1))
    (mended,) = may_be_mended(manifest, 0, MENDABLE)
    assert since_last(manifest, 0, slices_again(manifest.counted[0], mended)) == (0, None)


def test_a_slice_whose_memory_is_gone_is_not_counted_again_whatever_settings_say() -> None:
    infos = [lacking(hour, *([(50, 51)] if hour == 5 else [])) for hour in range(10)]
    manifest = hours_counted(*infos)
    assert [one.name.hour for one in manifest.counted[0]] == [5, 6, 7, 8, 9]
    assert manifest.counted[0][0].gaps == [(50, 51)]
    # Hour 4, from whose memory it would go on, is forgotten.
    assert may_be_mended(manifest, 0, HistorySettings(late_file_hours=12)) == []
    kept = hours_counted(*infos[:9])
    assert may_be_mended(kept, 0, HistorySettings(late_file_hours=12)) == [kept.counted[0][1]]


def test_without_slices_history_is_as_before_them_but_for_what_is_complete() -> None:
    infos = [lacking(hour, *([(60, 62)] if hour == 6 else []), viewed=[hour - 1, hour]) for hour in range(3, 9)]
    manifest = hours_counted(*infos)
    again = {SliceName(hour, 0) for hour in (6, 7, 8)}
    found = without(manifest, again, RULES)
    assert (found.last_slices, found.next_offsets, found.next_hours) == ({0: SliceName(5, 0)}, {0: 60}, {0: 6})
    assert [one.name.hour for one in found.counted[0]] == [4, 5]
    assert (found.gap_hours, found.missing) == ([], {})
    assert found.slices[5] == [SliceName(5, 0)]
    assert found.slices[8] == []
    assert (found.through_hour, found.forgotten_before) == (manifest.through_hour, manifest.forgotten_before)
    assert found.through_hour == 8
    assert without(manifest, set(), RULES) is manifest
    # All of them: as if nothing of the partition had been counted.
    every = without(hours_counted(*infos[:2]), {SliceName(3, 0), SliceName(4, 0)}, RULES)
    assert (every.last_slices, every.next_offsets, every.next_hours, every.counted) == ({}, {}, {}, {0: []})


def test_a_mended_gap_makes_its_hours_certain_and_they_are_counted_anew() -> None:
    rules = HistorySettings(late_hours=40, late_file_hours=12)
    infos = [
        lacking(hour, *([(223, 226)] if hour == 22 else []), viewed=[hour - 2, hour]) for hour in range(20, 26)
    ]  # fmt: skip
    before = hours_counted(*infos, history=rules)
    assert before.through_hour == 25
    uncertain = list(uncertain_hours(infos[2], RULES))
    assert before.gap_hours == uncertain
    (mended,) = may_be_mended(before, 0, rules)
    again = slices_again(before.counted[0], mended)
    # Nothing of hour 20 is in the slices any more, which was late in slice 22; hour 19 gets an event.
    mended_slice = msgspec.structs.replace(anew(infos[2]), cells=[(0, 19, 1), (0, 22, 3)])
    new = [mended_slice, *map(anew, infos[3:]), lacking(26)]
    plan = plan_of(before, [Recount(new, again)], RULES, 1, rules)
    # Slices 22 to 25 count for hours 20 and 22, 21 and 23, 22 and 24, 23 and 25, and before for the same.
    assert plan.recounted == [20, 21, 22, 23, 24, 25]
    assert plan.hours == [19, 20, 21, 22, 23, 24, 25]
    assert plan.slices[20] == [SliceName(20, 0)]
    assert plan.slices[22] == [SliceName(22, 0, made="again"), SliceName(24, 0, made="again")]
    assert [reason_of(before, plan, day) for day in plan.complete_days] == ["archived late"]
    manifest = publish(before, plan, [ShardResult(0, [Recount(new, again)], {})], rules)
    assert (manifest.gap_hours, manifest.missing) == ([], {})
    assert [one.name for one in manifest.counted[0]] == [SliceName(20, 0), SliceName(21, 0), *(one.name for one in new)]
    assert manifest.last_slices == {0: SliceName(26, 0)}
    assert manifest.next_offsets == {0: 270}
    assert not manifest.all_slices.intersection(again)
    assert manifest.owed == Owed(
        hours=plan.hours, recounted=plan.recounted, viewer_days=[], reasons={0: "archived late"}
    )


def test_an_hour_whose_slices_are_all_counted_again_elsewhere_is_counted_to_nothing() -> None:
    """Else what it was would stay in the tables."""
    infos = [lacking(20), lacking(21), lacking(22, (223, 226), viewed=[18, 22]), lacking(23)]
    before = hours_counted(*infos)
    again = [SliceName(22, 0), SliceName(23, 0)]
    new = [msgspec.structs.replace(anew(infos[2]), cells=[(0, 22, 1)]), anew(infos[3])]
    plan = plan_of(before, [Recount(new, again)], RULES, 1, MENDABLE)
    assert plan.slices[18] == []
    assert plan.hours == [18, 22]
    manifest = publish(before, plan, [ShardResult(0, [Recount(new, again)], {})], MENDABLE)
    assert 18 not in manifest.slices
    assert manifest.owed.recounted == [18, 22]


def test_a_gap_that_was_mended_in_part_is_still_one() -> None:
    infos = [lacking(20), lacking(21, (213, 216)), lacking(22)]
    before = hours_counted(*infos)
    new = [msgspec.structs.replace(infos[1], gaps=[(215, 215)], made="again", archive_files=5), anew(infos[2])]
    manifest = after(before, new, MENDABLE, [SliceName(21, 0), SliceName(22, 0)])
    assert manifest.missing == {0: 1}
    assert manifest.gap_hours == before.gap_hours == list(uncertain_hours(infos[1], RULES))
    (left,) = may_be_mended(manifest, 0, MENDABLE)
    assert (left.name, left.files) == (SliceName(21, 0, made="again"), 5)


def test_history_begins_earlier_when_its_first_records_are_archived_late() -> None:
    rules = HistorySettings(late_hours=40, late_file_hours=12)
    infos = [lacking(10, (0, 103), first=0), *(lacking(hour) for hour in range(11, 20))]
    before = hours_counted(*infos, history=rules)
    assert before.from_hour == uncertain_hours(infos[0], RULES).stop == 13
    again = [one.name for one in infos]
    new = [msgspec.structs.replace(anew(infos[0]), cells=[(0, 9, 1), (0, 10, 1)]), *map(anew, infos[1:])]
    manifest = after(before, new, rules, again)
    assert manifest.from_hour == 0
    assert manifest.owed.hours == [9, *range(10, 19)]
    # Of another partition the first records are still missing.
    other = msgspec.structs.replace(info(10, 1, [10], 110), gaps=[(0, 8)])
    before = hours_counted(*infos, history=rules)
    before = after(before, [other, info(20, 1, [20], 200)], rules, partitions=2)
    assert after(before, new, rules, again, partitions=2).from_hour == 13
    # Or they are, for good by now.
    for_good = msgspec.structs.replace(
        before, counted={0: before.counted[0], 1: []}, final_gap_hours=list(uncertain_hours(other, RULES))
    )
    assert after(for_good, new, rules, again, partitions=2).from_hour == 13


def test_hours_that_history_did_not_begin_with_are_made_when_it_begins_earlier() -> None:
    """Also those of which no slice is counted again: only another partition has views of them."""
    rules = HistorySettings(late_hours=40, late_file_hours=12)
    whole = [lacking(hour) for hour in range(20, 35)]
    others = [
        msgspec.structs.replace(info(23, 1, [], 240), gaps=[(0, 8)]),
        *(msgspec.structs.replace(info(hour, 1, [hour], hour * 10 + 10), first_offset=240) for hour in (28, 34)),
    ]
    before = after(no_history(1), [*whole, *others], rules, partitions=2)
    assert (before.from_hour, before.through_hour) == (26, 34)
    assert before.owed.hours == [*range(26, 34)]
    plan = plan_of(before, [Recount([anew(one) for one in others], [one.name for one in others])], RULES, 2, rules)
    assert plan.from_hour == 0
    assert plan.recounted == [28]
    # What is the same as it was is left alone.
    assert plan.hours == [*range(20, 26), 28]
    assert reason_of(before, plan, 0) == "archived late"


def test_an_hour_stays_as_it_is_for_good_when_neither_late_events_nor_late_files_reach_it() -> None:
    before = msgspec.structs.replace(no_history(1), through_hour=99, last_slices={0: SliceName(99, 0)})
    for late_file_hours in (0, 7):
        rules = HistorySettings(late_hours=40, late_file_hours=late_file_hours)
        plan = plan_of(before, [Recount([info(100, 0, [100])])], RULES, 1, rules)
        assert plan.forgotten_before == 60 - late_file_hours
    # What was forgotten stays so.
    known = msgspec.structs.replace(before, forgotten_before=58)
    assert plan_of(known, [Recount([info(100, 0, [100])])], RULES, 1, rules).forgotten_before == 58


def test_a_restored_history_owes_every_row() -> None:
    before = hours_counted(lacking(20))
    counted = [Recount([lacking(21)])]
    plan = plan_of(before, counted, RULES, 1, MENDABLE)
    manifest = published(
        before, "b", plan, [ShardResult(0, counted, {})], {}, RULES, MENDABLE, token=9, made_ms=5, everything=True
    )
    assert manifest.owed.everything
    assert not after(before, [lacking(21)], MENDABLE).owed.everything
