"""Schedules that once went wrong, each with a sentence that says how: what is too rare for chance is kept here."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.machine.schedule import Operation

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


class Scene(NamedTuple):
    """`wrong` is what an earlier version did."""

    name: str
    wrong: str
    operations: list[Operation]


def _asked(number: int) -> list[Operation]:
    """Video and form by number, as tests.machine.actors.query has them."""
    return [("query", 3, number), ("go", 3, 7)]


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
        "The first rollup counted one partition and waited for a file of the other; which late events are too old was "
        "told by the counted one alone, and late events of the other were never added.",
        [("view", 324303, 421064), ("tick", 0, 0), ("commit", 264632, 678344), ("hour", 608692, 511915),
         ("hour", 250593, 382679), *ROLLUP],
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
