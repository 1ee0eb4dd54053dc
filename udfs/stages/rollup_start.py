"""Begins a rollup under its lease: writes the rows that history still owes, and finds what has to be counted."""

from collections import defaultdict
from collections.abc import Callable

import msgspec
import pyarrow.fs

from settings import Settings
from udfs.logic.history.manifest import HistoryError, Manifest, rules_of
from udfs.logic.history.register import Register
from udfs.logic.history.rollup_plan import PartitionTask, days_to_mark_again, task_of
from udfs.logic.stream.kept_settings import KeptSettings, SettingsRefusedError, of_history
from udfs.stages.rollup_end import applied_of
from udfs.stages.rollup_unit import RollupUnit, write_rows_owed
from udfs.stores.archive import Archive, ArchiveFile
from udfs.stores.arrival_hours import ArrivalHours
from udfs.stores.history_store import HistoryStore
from udfs.stores.late_files import counted_again
from udfs.stores.lease import Lease
from udfs.stores.topic_marker import TopicMarker, marked_topic


class Work(msgspec.Struct, frozen=True):
    """The work of a rollup: a task for each partition of which hours are counted. `marks` are days to mark again.

    `is_last` says that nothing is left to count after this.
    """

    unit: RollupUnit
    tasks: list[PartitionTask]
    marks: list[int]
    is_last: bool


def settle(settings: Settings, history: HistoryStore, register: Register, lease: Lease) -> Register:
    """Write the rows that the manifest in force still owes, whoever published it. Return the register after that."""
    if register.applied is None or register.applied.manifest == register.manifest:
        return register
    name = register.manifest
    manifest = write_rows_owed(history, settings, name, lease)
    lease.apply(applied_of(name, manifest, register.applied.warnings))
    return lease.check()


def begin(
    settings: Settings,
    store: pyarrow.fs.FileSystem,
    register: Register,
    lease: Lease,
    *,
    has_totals: Callable[[], bool],
    topic_id: str = "",
    accepts: bool = False,
    say: Callable[[str], None] = lambda _line: None,
) -> Work | None:
    """Find what has to be done. Return None if that is nothing. Raises HistoryError.

    `has_totals` says whether view_totals has a row. With `accepts`, history is continued even if it does not say with
    which settings it was made (udfs.logic.stream.kept_settings); `say` then gets a line about it.
    """
    history = HistoryStore(store, settings.history.path)
    if not register.manifest and register.applied is not None and has_totals():
        raise HistoryError(
            f"keyspace {settings.cassandra.keyspace} has totals, and its register names no history: a rollup would "
            "replace them by what the archive still has; `python -m tools.ops history restore` finds a history that "
            "was lost; to begin a new history, use another keyspace"
        )
    register = settle(settings, history, register, lease)
    before = history.manifest(register.manifest, settings.counting.shards)
    check_settings(before, of_history(settings, accepts=accepts), say)
    check_topic(before, marked_topic(store, settings.archive.path), topic_id, settings)
    everything = register.applied is None
    archive = Archive(store, settings.archive.path)
    files: dict[int, list[ArchiveFile]] = defaultdict(list)
    for file in archive.files():
        files[file.partition].append(file)
    times = ArrivalHours.of(archive, settings)
    arrived = {p: times.of_partition(of, before.last_hours.get(p)) for p, of in files.items()}
    hours = {partition: of.hours for partition, of in arrived.items()}
    again = {
        p: counted_again(archive, of, before, p, settings.history, max(hours[p], default=-1)) for p, of in files.items()
    }
    firsts = [
        min((hour for hour in of if hour > before.last_hours.get(partition, -1)), default=None)
        for partition, of in hours.items()
    ]
    first = min((hour for hour in firsts if hour is not None), default=0)
    limit = first + settings.history.hours_at_once
    found = [
        task_of(
            partition,
            of,
            before.last_hours.get(partition),
            again[partition],
            # Slices that are counted again must reach at least as far as before: to the next record's hour, which may
            # be much later, and of which other records may have been archived late.
            max(limit, before.next_hours[partition] + 1) if again[partition] else limit,
            arrived[partition].ahead,
        )
        for partition, of in sorted(hours.items())
    ]
    tasks = [task for task in found if task is not None]
    marks = days_to_mark_again(before, rules_of(settings.history))
    if not tasks and not marks and not everything:
        return None
    unit = RollupUnit(lease.held, register.manifest, before, everything, topic_id or before.topic_id)
    # Partitions of which nothing is counted this time belong to it too: what is left of them is later.
    reached = before.last_hours | {task.partition: task.hours[-1] for task in tasks}
    is_last = not any(h > reached.get(partition, -1) for partition, of in hours.items() for h in sorted(of)[:-1])
    return Work(unit, tasks or [PartitionTask(0, [], 0)], marks, is_last)


def check_settings(before: Manifest, kept: KeptSettings, say: Callable[[str], None]) -> None:
    """Raise HistoryError if history was made with other settings that must not change."""
    if before.run == 0:
        return
    try:
        lines = kept.check({"counting.shards": before.shards, **before.settings}, "history")
    except SettingsRefusedError as error:
        raise HistoryError(str(error)) from error
    for line in lines:
        say(line)


def check_topic(before: Manifest, marker: TopicMarker | None, topic_id: str, settings: Settings) -> None:
    """Raise HistoryError if Kafka's id of the events topic differs from that of the archive or of history.

    An id that is unknown ("") differs from none.
    """
    known = {before.topic_id, "" if marker is None else marker.id} - {""}
    if topic_id and known - {topic_id}:
        raise HistoryError(made_anew(settings.kafka.events_topic, topic_id, ", ".join(sorted(known - {topic_id}))))


def made_anew(topic: str, topic_id: str, known: str) -> str:
    """Return the error text for a topic that was deleted and made again under the same name."""
    return (
        f"topic {topic} was deleted and made anew: Kafka's id of it is {topic_id}, and what was archived and counted "
        f"is of {known}, whose offsets mean other records. Nothing is counted until the new topic has an archive, a "
        "history and a keyspace of its own: docs/operations.md, A topic that was made anew"
    )
