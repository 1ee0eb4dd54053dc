"""Turns what code of earlier versions wrote of history into what this code reads, so that a rollup carries it on. Pure.

A function for each version makes the next one's JSON of it, from dict to dict; whoever raises VERSION of
udfs.logic.history.manifest adds one to STEPS, and a golden history (tests/golden/make_history.py) of the version that
ends. What is written is of the newest version alone: the first rollup of newer code is what carries history over.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Json = dict[str, Any]
# In place of a part's number: the slice is all of an hour, and lies in no folder of a part.
WHOLE_HOUR = -1
# In place of how many buckets of viewers a slice has: it does not say who viewed, nor from where.
NO_VIEWERS = 0


def to_2(found: Json) -> Json:
    """Version 2 adds countries, channels, viewers, top_hours and top_days, which begin empty.

    What slices of version 1 do not say is not made up. Who viewed a day that such a slice counts for is not known, and
    the day gets no viewers and no marks; the views that it counts are from no known country, also where the hour is
    counted again; hours that are not counted again have no channels and no lists.
    """
    added = ("countries", "channels", "viewers", "top_hours", "top_days")
    return {**found, "files": {**found["files"], **{data_set: {} for data_set in added}}}


def to_3(found: Json) -> Json:
    """Version 3 adds marks and suspects, which begin empty, and `marked_by`: no day has been marked.

    So the next rollup marks every complete day whose slices are there, as after any change of the rules.
    Until shortly before it, slices were whole hours of arrival, and of each partition the last one was named by
    `last_hours`. Their names get WHOLE_HOUR for a part.
    """
    files = {**found["files"], "marks": {}, "suspects": {}}
    return _with_parts({**found, "files": files, "marked_by": {}})


def to_4(found: Json) -> Json:
    """Version 4 is published by a register, and remembers slices in order, so that they can be counted again.

    What an earlier version lacked of the archive is never looked for again: its gaps are there for good, and how many
    records they are was not kept. Counting goes on after the last slice of each partition.
    """
    counted = {
        partition: [
            {
                "name": name,
                "first_offset": found["next_offsets"][partition],
                "next_offset": found["next_offsets"][partition],
                "next_hour": found["next_hours"][partition],
            }
        ]
        for partition, name in found["last_slices"].items()
    }
    return {**found, "counted": counted, "final_gap_hours": found["gap_hours"]}


def to_5(found: Json) -> Json:
    """Version 5 says by which settings history was made, and in which hours of arrival records are lost for good.

    Of an earlier version both are not known: nothing is made up.
    """
    return {**found, "settings": {}, "final_missing_hours": {}}


# By version, what makes the next one of it.
STEPS: Mapping[int, Callable[[Json], Json]] = {1: to_2, 2: to_3, 3: to_4, 4: to_5}


def upgraded(content: bytes) -> Json:
    """What a manifest says, as the newest version that there is a step to; of one that has no step, as it is."""
    found: Json = msgspec.json.decode(content)
    while (step := STEPS.get(found["version"])) is not None:
        found = {**step(found), "version": found["version"] + 1}
    return found


def upgraded_slice(content: bytes) -> Json:
    """What a slice.json says, as this code writes it. It has no version: what it lacks says of which time it is.

    Without `part`, it is all of an hour. Without `countries` and `viewers`, it is of version 1 of the manifest: it has
    NO_VIEWERS, and its countries are to be made of its cells, in groups that are the cells'.
    """
    found: Json = msgspec.json.decode(content)
    made = {"part": WHOLE_HOUR, **found}
    if "countries" not in found:
        made |= {"countries": found["cells"], "viewers": [], "viewer_buckets": NO_VIEWERS}
    return made


def _with_parts(found: Json) -> Json:
    """With names of slices that have a part, all of them."""
    if "last_hours" not in found:
        return found
    last = {
        partition: {"hour": hour, "partition": int(partition), "part": WHOLE_HOUR}
        for partition, hour in found["last_hours"].items()
    }
    slices = {hour: [{**name, "part": WHOLE_HOUR} for name in names] for hour, names in found["slices"].items()}
    rest = {name: value for name, value in found.items() if name != "last_hours"}
    return {**rest, "last_slices": last, "slices": slices}
