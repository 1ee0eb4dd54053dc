"""Schedules that once went wrong, each with a sentence that says how: what is too rare for chance is kept here."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.machine.schedule import NEXT, Operation

# An hour with views of both partitions, archived at its end; one of which a file is held back; and a job, to its end.
HOUR: Operation = ("hour", 8, 7)
HELD_BACK: Operation = ("hour", 0, 7)
NOTHING_FOR_HOURS: Operation = ("sleep", 0, 0)
NOTHING_FOR_A_DAY: Operation = ("sleep", 2, 0)
NOTHING_FOR_DAYS: Operation = ("sleep", 3, 0)
ROLLUP: list[Operation] = [("rollup", 0, 0), ("go", 0, 7)]
# Slots 0 and 1: two jobs at once.
BEGINS: list[Operation] = [("rollup", 0, 0), ("rollup", 1, 0)]
NEARLY: list[Operation] = [("nearly", 0, 0), ("nearly", 1, 0)]
GO: list[Operation] = [("go", 0, 0), ("go", 1, 0)]
ENDS: list[Operation] = [("go", 0, 7), ("go", 1, 7)]
SNAPSHOT: Operation = ("snapshot", 0, 0)
LOOK: Operation = ("look", 0, 0)
RESTORE: list[Operation] = [("restore", 0, 0), ("go", 0, 7)]


class Scene(NamedTuple):
    """`wrong` is what an earlier version did."""

    name: str
    wrong: str
    operations: list[Operation]


def _asked(number: int) -> list[Operation]:
    """Video and form by number, as tests.machine.actors.query has them."""
    return [("query", 3, number), ("go", 3, 7)]


def _until(slot: int, words: str) -> Operation:
    """Until its next step is this."""
    return "nearly", slot, NEXT.index(words)


def _whole(kind: str, slot: int, number: int = 0) -> list[Operation]:
    return [(kind, slot, number), ("go", slot, 7)]


def _commit(place: int) -> Operation:
    """The file at this place of those that wait."""
    return "commit", 6, 4 * place


TICK: Operation = ("tick", 0, 0)
ROLL: Operation = ("roll", 0, 0)
# Of partition 0 and 1, of viewer a but for the last one, who is b.
VIEW_0: Operation = ("view", 0, 1)
VIEW_1: Operation = ("view", 1, 1)
VIEW_OF_B: Operation = ("view", 0, 33)
# Of the files that wait, the oldest one; and all, which are six at most.
NEXT_FILE: Operation = ("commit", 0, 0)
ALL: Operation = ("commit", 0, 3)
# A file with one view comes late to the archive: hours after it are there by then, and settled.
LATE: list[Operation] = [HOUR, VIEW_0, TICK, HOUR, HOUR, HOUR]

SCENES = [
    Scene(
        "two rollups at once",
        "Two rollups began with one manifest, and the second saw an hour more. The first published, with the totals "
        "that the second had written under the same name: that hour was in them twice for good.",
        [HOUR, HOUR, *ROLLUP, HOUR, BEGINS[0], NEARLY[0], HOUR, BEGINS[1], NEARLY[1], *ENDS, HOUR, *ROLLUP],
    ),
    Scene(
        "two rollups publish at once",
        "Both wrote their manifests under one name, from which each was to be put in force: the first put the other's "
        "in force, and then deleted the files that its own did not name.",
        [HOUR, HOUR, *ROLLUP, HOUR, BEGINS[0], NEARLY[0], GO[0], HOUR, BEGINS[1], NEARLY[1], GO[1], *ENDS],
    ),
    Scene(
        "a rollup overwrites what another has published",
        "The slower of two rollups wrote over files that the manifest of the faster one names.",
        [HOUR, HOUR, BEGINS[0], ("go", 0, 6), HOUR, BEGINS[1], ENDS[1], ENDS[0]],
    ),
    Scene(
        "the manifest is lost",
        "A rollup that found no manifest began anew with what the archive still had, and replaced totals by it.",
        [HOUR, HOUR, *ROLLUP, HOUR, *ROLLUP, NOTHING_FOR_A_DAY, HOUR, HOUR, NOTHING_FOR_HOURS,
         ("lose", 0, 0), *ROLLUP, ("restore", 0, 0), ("go", 0, 7), *ROLLUP],
    ),
    Scene(
        "the manifest before the one in force is lost while rows are owed",
        "Every rollup asked for a restore, and the restore found nothing that was lost.",
        [HOUR, HOUR, *ROLLUP, HOUR, *ROLLUP, HOUR, BEGINS[0], NEARLY[0], ("lose", 0, 0), GO[0], ("kill", 0, 0), HOUR,
         *ROLLUP, ("restore", 0, 0), ("go", 0, 7)],
    ),
    Scene(
        "files of both sides of days without records are archived late",
        "What was to be counted again did not reach as far as it had, since only so many hours are counted at once: "
        "its partition stood still for good.",
        [("tick", 0, 0), ("sleep", 3, 0), ("tick", 0, 0), ("hour", 508698, 915514), ("commit", 861121, 811120),
         ("hour", 47058, 261097), ("rollup", 3, 0), ("tick", 0, 0), ("nearly", 3, 1), ("nearly", 3, 0)],
    ),
    Scene(
        "the first file of an hour is archived late, after the next one of that hour",
        "What was to be counted again ended before that hour, and so before the record that it had reached: its "
        "partition stood still for good, and all others with it.",
        [("hour", 901498, 775104), ("sleep", 3, 0), ("sleep", 1, 0), ROLL, ("hour", 584709, 411056),
         ("hour", 354756, 611607), ("rollup", 1, 0), TICK, _until(1, "swap the register: manifest"), GO[1]],
    ),
    *(
        Scene(
            f"the rollup is behind, {form}",
            "The rollup was behind by more than minutes live, and an answer lacked what neither table had any more.",
            [HOUR, HOUR, *ROLLUP, HOUR, HOUR, NOTHING_FOR_DAYS, *_asked(3 * number), *_asked(3 * number + 1)],
        )
        for number, form in enumerate(("totals", "days", "hours"))
    ),
    Scene(
        "a file is archived late",
        "A file that was archived more than two hours after what follows it was never counted.",
        [HOUR, HELD_BACK, HOUR, HOUR, HOUR, *ROLLUP],
    ),
    Scene(
        "the first records of a partition are archived late",
        "History began at an hour that was certain without them. With them it began earlier; but of the hours between, "
        "those that only other partitions had views of were never made, and were missing in every sum.",
        [("tick", 0, 0), ("hour", 342461, 905177), ("hour", 541236, 917666), ("tick", 0, 0), ("hour", 273991, 853639),
         ("commit", 889963, 621292), *ROLLUP],
    ),
    Scene(
        "a partition is archived later than the others",
        "The first rollups counted one partition, of which nothing came for hours, and had no file of the other; which "
        "events are too old was told by the counted one alone, and those of the other were never added.",
        [VIEW_0, VIEW_1, TICK, _commit(0), ("sleep", 1, 0), TICK, _commit(1), _commit(2), TICK, _commit(3), *ROLLUP,
         ALL, *ROLLUP],
    ),
    Scene(
        "two take the lease at once",
        "One who had looked at the register took the lease after somebody else had come to an end meanwhile: went on "
        "from a manifest of before, with a token below that of the rows that were there.",
        [HOUR, HOUR, *ROLLUP, HOUR, BEGINS[1], _until(1, "swap the register: token"), HOUR, *ROLLUP, HOUR, ENDS[1]],
    ),
    Scene(
        "an attempt of before publishes as well",
        "A task was tried again, and counted a file more; the attempt before it woke, and put its own manifest in the "
        "place of that one, whose rows were there already.",
        [*LATE, BEGINS[0], _until(0, "put world/history/manifests"), NEXT_FILE, ("again", 0, 1), *ENDS],
    ),
    Scene(
        "an attempt writes over what the one before has published",
        "A task was tried again once its manifest was in force, and wrote other files under the names that it names.",
        [*LATE, BEGINS[0], _until(0, "swap the register: manifest"), GO[0], NEXT_FILE, ("again", 0, 1), *ENDS],
    ),
    Scene(
        "a rollup stops before it publishes, and an erasure closes",
        "The rows of a manifest that was never published stood beside those of the one that the erasure put in force.",
        [HOUR, HOUR, *_whole("erasure", 2), NOTHING_FOR_DAYS, NOTHING_FOR_DAYS, ALL, HOUR, HOUR, *ROLLUP, HOUR,
         BEGINS[0], _until(0, "swap the register: manifest"), *_whole("erasure_again", 1), LOOK, ENDS[0], LOOK],
    ),
    Scene(
        "a rollup dies once it has published",
        "The next one wrote the rows of what it had counted itself, and those of the one before were never written.",
        [HOUR, HOUR, *ROLLUP, HOUR, BEGINS[0], _until(0, "swap the register: manifest"), GO[0], ("kill", 0, 0), HOUR,
         *ROLLUP],
    ),
    Scene(
        "rows are written by who holds the lease no longer",
        "Older rows, written late, took the place of newer ones.",
        [HOUR, HOUR, *ROLLUP, HOUR, BEGINS[0], _until(0, " rows: view_totals"), HOUR, BEGINS[1], ENDS[1], ENDS[0],
         LOOK],
    ),
    Scene(
        "what is counted again has gone",
        "An event came twice, for another video the second time, and the first record came late to the archive: what "
        "the second had counted for was a repeat then, and stayed in the rows.",
        [HOUR, HOUR, *ROLLUP, VIEW_0, ROLL, ("retold", 0, 0), ROLL, _commit(1), TICK, HOUR, HOUR, HOUR, *ROLLUP,
         NEXT_FILE, *ROLLUP, LOOK],
    ),
    Scene(
        "a file comes as late as it may",
        "The hours that it has views of were final, since no event that arrived now could add to them.",
        [*LATE, HOUR, HOUR, *ROLLUP, NEXT_FILE, *ROLLUP],
    ),
    Scene(
        "a file comes late without that beside it",
        "What is counted again waited for the rest, and reached less far than it had: hours up to where it had were "
        "told to be complete.",
        [HOUR, HOUR, VIEW_0, TICK, VIEW_0, TICK, ROLL, VIEW_0, TICK, VIEW_0, TICK, TICK,
         *map(_commit, (0, 1, 2, 4, 4, 4)), TICK, TICK, TICK, *ROLLUP, _commit(1), _commit(2), *ROLLUP],
    ),
    Scene(
        "a rollup deletes while another writes",
        "What the later one had written and not yet published was named by no manifest, and was deleted.",
        [HOUR, HOUR, *ROLLUP, HOUR, BEGINS[0], _until(0, "list world/history/manifests"), HOUR, BEGINS[1],
         _until(1, "swap the register: manifest"), *ENDS],
    ),
    Scene(
        "raw events are old before they are counted",
        "They left when the newest manifest had counted them, and a restore of another would have lacked them.",
        [HOUR, HOUR, *ROLLUP, HOUR, NOTHING_FOR_A_DAY, HOUR, *ROLLUP],
    ),
    Scene(
        "a row is repaired, and then grows",
        "The repair was written with a time to come, and what was counted next did not take its place.",
        [HOUR, HOUR, *ROLLUP, *(("spoil", 0, number) for number in range(3)), *_whole("audit", 0), LOOK, HOUR, *ROLLUP,
         LOOK],
    ),
    Scene(
        "two erasures rewrite one file",
        "The second wrote what it had read before the first had rewritten it, and whom that had erased was back.",
        [VIEW_OF_B, HOUR, ("erasure", 0, 0), _until(0, "if it is as it was"), *_whole("erasure", 1, 1), ENDS[0]],
    ),
    Scene(
        "an erasure closes while a rollup has what it erased in memory",
        "The rollup wrote it, and put its manifest, which was newer than the one in force: what a restore took when "
        "the register was lost.",
        [HOUR, HOUR, *ROLLUP, VIEW_OF_B, TICK, *_whole("erasure", 2, 1), NOTHING_FOR_DAYS, NOTHING_FOR_DAYS,
         ALL, BEGINS[0], _until(0, "viewers.parquet"), *_whole("erasure_again", 1), ENDS[0], LOOK,
         ("lose", 1, 0), *RESTORE, LOOK],
    ),
    Scene(
        "a rollup has its turn while an erasure reads",
        "A file was archived meanwhile and counted, and the erasure ended without a look at what that had written.",
        [HOUR, HOUR, *ROLLUP, VIEW_OF_B, ROLL, ("erasure", 0, 1), _until(0, "read world/history/slices"), HOUR,
         NEXT_FILE, BEGINS[1], *reversed(ENDS)],
    ),
    Scene(
        "the manifest is lost, and two are left",
        "A restore took the older one.",
        [HOUR, HOUR, *ROLLUP, HOUR, *ROLLUP, HOUR, *ROLLUP, ("lose", 0, 0), *RESTORE, *ROLLUP],
    ),
    *(
        Scene(
            f"{what} is lost with a file of the newest manifest that is left",
            "A restore put a manifest in force of which a file was not there; of slices it saw the folders alone.",
            [HOUR, HOUR, *ROLLUP, HOUR, *ROLLUP, SNAPSHOT, HOUR, *ROLLUP, ("lose_file", number, number),
             *RESTORE, *ROLLUP],
        )
        for number, what in enumerate(("the manifest", "the register"))
    ),
    Scene(
        "the first file comes so late that nothing is added to its hours any more",
        "History began with the first hour again, and lacked the late events of the hours that it had forgotten.",
        [("view", 934479, 599790), ("sleep", 911865, 144546), ("hour", 991129, 367646), ("rollup", 839494, 866639),
         ("sleep", 709206, 808156), ("nearly", 94518, 302320)],
    ),
    Scene(
        "two erasures of one viewer begin at once",
        "Each made a key, and the second one's took the place of the first one's in the list: a viewer had two names "
        "in one day of a video, and counted as two.",
        [VIEW_0, HOUR, VIEW_0, HOUR, ("erasure", 0, 0), ("go", 0, 2), ("erasure", 1, 0),
         _until(1, "if it is as it was"), ("go", 1, 0), *ENDS, NOTHING_FOR_A_DAY, NOTHING_FOR_A_DAY, *ROLLUP],
    ),
    Scene(
        "the manifest is lost twice within an hour",
        "The token after a restore was that of the clock, and below that of rows which were written after the one "
        "before it, an hour ahead.",
        [*LATE, *ROLLUP, HOUR, *ROLLUP, ("lose", 0, 0), *RESTORE, *ROLLUP, ("lose", 0, 0), *RESTORE, NEXT_FILE,
         *ROLLUP, LOOK],
    ),
    Scene(
        "a rollup that died as it was done is followed by one that counts the last hour of a final day",
        "The file of that hour was called a file that is left over, though the next rollup deletes it.",
        [("tick", 833025, 101261), ("tick", 956458, 393366), ("view", 329872, 938872), ("hour", 792947, 909537),
         ("hour", 402303, 108413), ("hour", 603462, 192704), ("hour", 979864, 175350), ("hour", 538687, 496671),
         ("rollup", 684151, 963242), ("nearly", 500891, 355165)],
    ),
]  # fmt: skip


def _meetings() -> Iterator[Scene]:
    """One job stops before it has published, or told so; another comes to its end; and then the first wakes, or dies.

    Beyond that a file comes late, so that a slice is counted again meanwhile.
    """
    late = [HOUR, HELD_BACK, HOUR, HOUR, HOUR]
    for stop, until in enumerate(("publishes", "tells", "puts a manifest")):
        for second in ("rollup", "audit", "erasure"):
            for ending in ("go", "kill", "again"):
                yield Scene(
                    f"a rollup nearly {until}, {second}, {ending}",
                    "One job undid what the other did.",
                    [*late, *ROLLUP, HOUR, ("snapshot", 0, 0), ("rollup", 0, 0), ("nearly", 0, stop), HOUR,
                     ("commit", 0, 0), (second, 1, 0), ("go", 1, 7), (ending, 0, 7), ("go", 0, 7), HOUR, *ROLLUP,
                     ("query", 3, 0), ("go", 3, 7), ("lose", stop, 0), ("restore", 0, 0), ("go", 0, 7), *ROLLUP],
                )  # fmt: skip


MEETINGS = list(_meetings())
