"""Plans a rollup: which slices to count, what to make of all slices, and what the new manifest says."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from settings import CountingSettings, HistorySettings
from settings.durations import HOUR_MS, MINUTE_MS
from udfs.logic.history.manifest import (
    HOURS_PER_DAY,
    Counted,
    Manifest,
    MarkRules,
    Owed,
    SliceInfo,
    SliceName,
    day_of,
    hour_start,
    rules_of,
)


class PartitionTask(msgspec.Struct, frozen=True):
    """The ended hours of arrival of a partition that are to be counted, maybe none. The newest hour has not ended.

    `again` are slices that are counted again because records of the first of them were archived late; the others follow
    it. `ahead` are hours that have not come but have folders in the archive, in which records may lie.
    """

    partition: int
    hours: list[int]
    newest_hour: int
    again: list[SliceName] = []
    ahead: list[int] = []


class Recount(msgspec.Struct, frozen=True):
    """The result of a task: the new slices in order, and the earlier slices that they replace."""

    new: list[SliceInfo] = []
    again: list[SliceName] = []


@dataclass(frozen=True)
class Plan:
    """What a rollup makes from all slices. All hours and days are hours and days viewed.

    `hours` are counted, and with them their `days`. A slice of `recounted` hours is counted again, so that some of
    their views may have disappeared. For `viewer_days`, viewers are counted and views are marked: once when the day is
    complete, again whenever the rules change, and once more when the day is final. Nothing is added any more to
    `final_days`, and their hours are put into one file. The other fields are those of the new manifest.
    """

    run: int
    from_hour: int
    through_hour: int
    forgotten_before: int
    hours: list[int]
    recounted: list[int]
    viewer_days: list[int]
    final_days: list[int]
    marked_by: dict[int, MarkRules]
    slices: dict[int, list[SliceName]]

    @property
    def days(self) -> list[int]:
        """Every day with an hour that is counted."""
        return sorted({day_of(hour) for hour in self.hours})

    @property
    def complete_days(self) -> list[int]:
        """Every complete day whose views or marks are counted."""
        return sorted(day for day in {*self.days, *self.viewer_days} if _end(day) <= self.through_hour)


class ShardResult(msgspec.Struct, frozen=True):
    """The result of a shard: what was counted, its files by data set and time, and who made them (made_by)."""

    shard: int
    counted: list[Recount]
    files: dict[str, dict[int, str]]
    made: str = ""


def task_of(
    partition: int,
    archived_hours: Iterable[int],
    last_hour: int | None,
    again: Sequence[SliceName] = (),
    before_hour: int | None = None,
    ahead: Sequence[int] = (),
) -> PartitionTask | None:
    """Return what to count of a partition, or None if there is nothing.

    Its records arrived in `archived_hours` and are counted up to `last_hour`. An hour has ended when there is a later
    one. If `before_hour` is given, of the hours that are not counted yet only those before it are counted this time.
    """
    hours = sorted(archived_hours)
    since = min((name.hour for name in again), default=None if last_hour is None else last_hour + 1)
    limit = None if before_hour is None else max([before_hour, *(name.hour + 1 for name in again)])
    closed = [h for h in hours[:-1] if (since is None or h >= since) and (limit is None or h < limit)]
    return PartitionTask(partition, closed, hours[-1], list(again), list(ahead)) if closed else None


def since_last(before: Manifest, partition: int, again: Sequence[SliceName] = ()) -> tuple[int, SliceName | None]:
    """Return where counting a partition continues if the slices in `again` are dropped.

    It is (the next offset, the slice that has dedup's memory at that offset).
    """
    if not again:
        return before.next_offsets.get(partition, 0), before.last_slices.get(partition)
    chain = before.counted[partition]
    at = next(place for place, one in enumerate(chain) if one.name in set(again))
    return chain[at].first_offset, chain[at - 1].name if at else None


def slices_again(chain: Sequence[Counted], mended: Counted) -> list[SliceName]:
    """Return the slices to count again when records of a gap of `mended` have appeared: those from its hour on.

    Dedup's memory is only stored with the last slice of an hour, so counting can only continue at the start of an hour.
    """
    return [one.name for one in chain if one.name.hour >= mended.name.hour]


def may_be_mended(before: Manifest, partition: int, history: HistorySettings) -> list[Counted]:
    """Return the slices with gaps that will be counted again if the missing records appear."""
    chain = before.counted.get(partition, [])
    if not chain:
        return []
    first = chain[-1].name.hour - history.late_file_hours
    # Counting a slice again needs the memory of the slice before it, which the first slice of the partition does not.
    # The slice before may be gone if the setting was raised.
    begins = chain if chain[0].first_offset == 0 else chain[1:]
    return [one for one in begins if one.gaps and one.name.hour >= first]


def complete_hour(before: Manifest, new: Iterable[SliceInfo], partitions: int, lateness_ms: int) -> int:
    """Return the hour viewed before which all hours are complete once these slices are counted."""
    next_hours = _next_hours(before, new)
    if set(next_hours) != set(range(partitions)):
        return before.through_hour
    return max(before.through_hour, (min(next_hours.values()) * HOUR_MS - lateness_ms) // HOUR_MS)


def uncertain_hours(one: SliceInfo | Counted, rules: CountingSettings) -> range:
    """Return the hours viewed for which a slice with gaps may count differently from the stream.

    The missing events count for these hours, or later events would have been duplicates of them.
    """
    if not one.gaps:
        return range(0)
    first = (one.name.hour * HOUR_MS - rules.lateness_ms - MINUTE_MS) // HOUR_MS
    last = ((one.next_hour + 1) * HOUR_MS + max(rules.future_skew_ms, 2 * rules.generation_ms)) // HOUR_MS
    return range(first, last + 1)


def from_hour(before: Manifest, new: Iterable[SliceInfo], rules: CountingSettings) -> int:
    """Return the hour viewed with which history begins.

    If the archive lacks the first records of a partition, it is the first hour for which they cannot matter.
    """
    found = [uncertain_hours(info, rules).stop for info in new if any(first == 0 for first, _ in info.gaps)]
    return max([before.from_hour, *found])


def days_to_mark_again(before: Manifest, marks: MarkRules) -> list[int]:
    """Return the complete days whose viewers are still known and which were not marked by these rules."""
    days = {day_of(hour) for hour in before.slices if hour >= before.from_hour}
    return sorted(
        day
        for day in days
        if before.forgotten_before < _end(day) <= before.through_hour and before.marked_by.get(day) != marks
    )


def reason_of(before: Manifest, plan: Plan, day: int) -> str:
    """Return the reason for which the views or the marks of a complete day have changed."""
    if day in plan.final_days:
        return "day final"
    if before.through_hour < _end(day):
        return "day complete"
    if any(day_of(hour) == day for hour in plan.hours if hour < before.from_hour or hour in plan.recounted):
        return "archived late"
    return "rules changed" if day in plan.viewer_days else "late events"


def plan_of(
    before: Manifest, counted: Sequence[Recount], rules: CountingSettings, partitions: int, history: HistorySettings
) -> Plan:
    """Plan what to make after some slices were counted, or, if none were, when there are days to mark again."""
    new = new_of(counted)
    again = {name for one in counted for name in one.again}
    recounted = {hour for hour, names in before.slices.items() if again.intersection(names)}
    base = without(before, again, rules)
    slices = _with_slices(base.slices, new)
    first, through = from_hour(base, new, rules), complete_hour(base, new, partitions, rules.lateness_ms)
    # Neither what arrives from now on nor a file that is archived late adds to an hour before this one. That stays so
    # when the settings change.
    last_hours = base.last_hours | {info.partition: info.hour for info in new}
    reach = history.late_hours + history.late_file_hours
    # If a partition is archived later than the others, nothing is forgotten before it is counted.
    is_counted = set(last_hours) >= set(range(partitions))
    forgotten_before = max([before.forgotten_before, *([min(last_hours.values()) - reach] if is_counted else [])])
    days = sorted({day_of(hour) for hour in slices if first <= hour < through})
    final_days = [day for day in days if before.forgotten_before < _end(day) <= forgotten_before]
    marks = rules_of(history)
    due = {*final_days, *days_to_mark_again(before, marks)}
    viewer_days = [day for day in days if before.through_hour < _end(day) <= through or day in due]
    changed = recounted | {hour for info in new for hour in info.hours_viewed}
    counted_from = max(first, before.forgotten_before)
    hours = sorted(
        hour
        for hour in {*slices, *recounted}
        if counted_from <= hour < through
        # When the first records are found after all, history begins earlier. The hours before are then new, even if no
        # slice of them is counted again.
        and (hour >= before.through_hour or hour < before.from_hour or hour in changed)
    )
    return Plan(
        run=before.run + 1,
        from_hour=first,
        through_hour=through,
        forgotten_before=forgotten_before,
        hours=hours,
        recounted=[hour for hour in hours if hour in recounted],
        viewer_days=viewer_days,
        final_days=final_days,
        marked_by=before.marked_by | dict.fromkeys(viewer_days, marks),
        slices=slices,
    )


def new_of(counted: Iterable[Recount]) -> list[SliceInfo]:
    """Return the new slices, in order."""
    return sorted((info for one in counted for info in one.new), key=lambda info: info.name)


def without(before: Manifest, again: set[SliceName], rules: CountingSettings) -> Manifest:
    """Return the manifest as if these last slices had not been counted. Hours that were complete or final stay so."""
    if not again:
        return before
    counted, last, offsets, hours = (
        dict(before.counted), dict(before.last_slices), dict(before.next_offsets), dict(before.next_hours),
    )  # fmt: skip
    began_later = False
    for partition in {name.partition for name in again}:
        began_later |= any(first == 0 for one in counted[partition] if one.name in again for first, _ in one.gaps)
        left = [one for one in counted[partition] if one.name not in again]
        counted[partition] = left
        for of in (last, offsets, hours):
            of.pop(partition, None)
        if left:
            newest = left[-1]
            last[partition], offsets[partition], hours[partition] = newest.name, newest.next_offset, newest.next_hour
    return msgspec.structs.replace(
        before,
        from_hour=_from_hour_without(before, counted, rules) if began_later else before.from_hour,
        counted=counted,
        last_slices=last,
        next_offsets=offsets,
        next_hours=hours,
        slices={hour: [name for name in names if name not in again] for hour, names in before.slices.items()},
        gap_hours=_gap_hours(before.final_gap_hours, counted, rules),
    )


def published(
    before: Manifest,
    before_name: str,
    plan: Plan,
    results: Sequence[ShardResult],
    of_all_shards: Mapping[str, Mapping[int, str]],
    rules: CountingSettings,
    history: HistorySettings,
    *,
    token: int,
    made_ms: int,
    everything: bool = False,
) -> Manifest:
    """Return the manifest after a rollup.

    `of_all_shards` has the paths of files of all shards, by data set and time. `everything` is that of Owed.
    """
    new = new_of(results[0].counted)
    again = {name for one in results[0].counted for name in one.again}
    base = without(before, again, rules)
    files = {name: {at: dict(of) for at, of in sets.items()} for name, sets in before.files.items()}
    every = [(0, of_all_shards), *((result.shard, result.files) for result in results)]
    for shard, by_name in every:
        for name, paths in by_name.items():
            for at, path in paths.items():
                files[name].setdefault(at, {})[shard] = path
    # The slices of all hours of a day are kept until it is final, because its viewers are counted again then.
    first_day = plan.forgotten_before // HOURS_PER_DAY
    # Suspects are removed with the slices: nothing that names single viewers is kept longer.
    files["suspects"] = {day: of for day, of in files["suspects"].items() if day >= first_day}
    kept, final_gaps, final_missing, final_missing_hours = _counted(base, new, rules, history)
    return msgspec.structs.replace(
        base,
        run=plan.run,
        from_hour=plan.from_hour,
        through_hour=plan.through_hour,
        forgotten_before=plan.forgotten_before,
        next_offsets=base.next_offsets | {info.partition: info.next_offset for info in new},
        last_slices=base.last_slices | {info.partition: info.name for info in new},
        next_hours=_next_hours(base, new),
        gap_hours=_gap_hours(final_gaps, kept, rules),
        marked_by=plan.marked_by,
        slices={hour: names for hour, names in plan.slices.items() if names and day_of(hour) >= first_day},
        files=files,
        token=token,
        before=before_name,
        made_ms=made_ms,
        counted=kept,
        final_gap_hours=final_gaps,
        final_missing=final_missing,
        final_missing_hours=final_missing_hours,
        owed=Owed(
            hours=plan.hours,
            recounted=plan.recounted,
            viewer_days=plan.viewer_days,
            reasons={day: reason_of(before, plan, day) for day in plan.complete_days},
            everything=everything,
            kinds=everything or not before.has_kinds,
        ),
        has_kinds=True,
    )


def day_through(manifest: Manifest, day: int) -> datetime:
    """Return the time up to which a day is complete: its end, or the end of the last complete hour."""
    return hour_start(min(_end(day), manifest.through_hour))


def _counted(
    base: Manifest, new: Sequence[SliceInfo], rules: CountingSettings, history: HistorySettings
) -> tuple[dict[int, list[Counted]], list[int], dict[int, int], dict[int, int]]:
    """Return (slices to keep, final gap hours, final missing records by partition and by hour of arrival).

    The slices that may be counted again are kept, and the one before them.
    """
    kept: dict[int, list[Counted]] = {}
    gaps, missing = set(base.final_gap_hours), Counter(base.final_missing)
    missing_hours = Counter(base.final_missing_hours)
    chains = {partition: list(of) for partition, of in base.counted.items()}
    for info in new:
        chains.setdefault(info.partition, []).append(
            Counted(
                info.name, info.first_offset, info.next_offset, info.next_hour, list(info.gaps),
                *((info.archive_files, info.archive_bytes) if info.gaps else (0, 0)),
                info.repeats.get("conflicting", 0), info.repeats.get("restamped", 0),
            )
        )  # fmt: skip
    for partition, chain in chains.items():
        if not chain:
            kept[partition] = []
            continue
        first = chain[-1].name.hour - history.late_file_hours
        # Keep the one before too: counting again begins with its memory.
        at = max(next(place for place, one in enumerate(chain) if one.name.hour >= first) - 1, 0)
        kept[partition] = chain[at:]
        for one in chain[:at]:
            gaps.update(uncertain_hours(one, rules))
            number = sum(last - first + 1 for first, last in one.gaps)
            missing[partition] += number
            missing_hours[one.name.hour] += number
    return kept, sorted(gaps), _positive(missing), _positive(missing_hours)


def _positive(numbers: Mapping[int, int]) -> dict[int, int]:
    return {key: number for key, number in sorted(numbers.items()) if number}


def _from_hour_without(before: Manifest, counted: Mapping[int, Iterable[Counted]], rules: CountingSettings) -> int:
    """Return the hour viewed with which history begins when the first records of some partition were found."""
    others = (one for of in counted.values() for one in of if any(first == 0 for first, _ in one.gaps))
    # For slices that are no longer kept, only these hours are known.
    for_good = (hour + 1 for hour in before.final_gap_hours if hour < before.from_hour)
    # History cannot begin with a final hour, because nothing is added to it any more.
    forgotten = min(before.from_hour, before.forgotten_before)
    return max([0, forgotten, *(uncertain_hours(one, rules).stop for one in others), *for_good])


def _gap_hours(final: Iterable[int], counted: Mapping[int, Iterable[Counted]], rules: CountingSettings) -> list[int]:
    return sorted({*final, *(hour for of in counted.values() for one in of for hour in uncertain_hours(one, rules))})


def _next_hours(before: Manifest, new: Iterable[SliceInfo]) -> dict[int, int]:
    found = dict(before.next_hours)
    for info in new:
        found[info.partition] = max(info.next_hour, found.get(info.partition, info.next_hour))
    return found


def _with_slices(slices: Mapping[int, Iterable[SliceName]], new: Iterable[SliceInfo]) -> dict[int, list[SliceName]]:
    """Return the slices that count for each hour viewed, with the new ones."""
    found = {hour: set(names) for hour, names in slices.items()}
    for info in new:
        for hour in info.hours_viewed:
            found.setdefault(hour, set()).add(info.name)
    return {hour: sorted(names) for hour, names in sorted(found.items())}


def _end(day: int) -> int:
    """Return the hour with which the next day begins."""
    return (day + 1) * HOURS_PER_DAY
