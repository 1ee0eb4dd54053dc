"""Upgrades manifests and slices that earlier versions wrote, so that a rollup can continue from them.

There is one function for each version, which turns its JSON into that of the next version, from dict to dict. When you
raise VERSION of udfs.logic.history.manifest, add a function to STEPS, and make a golden history of the version before
(tests/golden/make_history.py). Only the newest version is written, so the first rollup of newer code upgrades history.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Json = dict[str, Any]
# Stands for a part's number: the slice is a whole hour, and its files lie in no folder of a part.
WHOLE_HOUR = -1
# Stands for the number of buckets of viewers: the slice does not say who viewed, nor from where.
NO_VIEWERS = 0


def to_2(found: Json) -> Json:
    """Version 2 adds countries, channels, viewers, top_hours and top_days, which begin empty.

    Nothing is invented that slices of version 1 do not say. A day for which such a slice counts gets no viewers and no
    marks. The views of such a slice have no known country, even if the hour is counted again. Hours that are not
    counted again have no channels and no lists.
    """
    added = ("countries", "channels", "viewers", "top_hours", "top_days")
    return {**found, "files": {**found["files"], **{data_set: {} for data_set in added}}}


def to_3(found: Json) -> Json:
    """Version 3 adds marks and suspects, which begin empty, and `marked_by`, which says that no day has been marked.

    So the next rollup marks every complete day whose slices exist, as after any change of the rules. Until shortly
    before version 3, slices were whole hours of arrival, and `last_hours` named the last one of each partition. The
    names of such slices get WHOLE_HOUR as their part.
    """
    files = {**found["files"], "marks": {}, "suspects": {}}
    return _with_parts({**found, "files": files, "marked_by": {}})


def to_4(found: Json) -> Json:
    """Version 4 is published by a register, and keeps the slices in order, so that they can be counted again.

    The gaps of an earlier version are final: their records are never looked for again, and their number is not known.
    Counting continues after the last slice of each partition.
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
    """Version 5 says with which settings history was made, and in which hours of arrival records are lost for good.

    For an earlier version both are unknown, and stay empty.
    """
    return {**found, "settings": {}, "final_missing_hours": {}}


def to_6(found: Json) -> Json:
    """Version 6 has imports. There are none before. Code that reads version 5 would forget them."""
    return {**found, "imports": {}}


# By version, the function that makes the next version of it.
STEPS: Mapping[int, Callable[[Json], Json]] = {1: to_2, 2: to_3, 3: to_4, 4: to_5, 5: to_6}


def upgraded(content: bytes) -> Json:
    """Decode a manifest and upgrade it as far as there are steps. A version without a step is returned as it is."""
    found: Json = msgspec.json.decode(content)
    while (step := STEPS.get(found["version"])) is not None:
        found = {**step(found), "version": found["version"] + 1}
    return found


def upgraded_slice(content: bytes) -> Json:
    """Decode a slice.json and upgrade it. It has no version; the fields that it lacks show how old it is.

    Without `part`, it is a whole hour. Without `countries` and `viewers`, it is from version 1 of the manifest: it gets
    NO_VIEWERS, and its countries are made from its cells, in the same row groups.
    """
    found: Json = msgspec.json.decode(content)
    made = {"part": WHOLE_HOUR, **found}
    if "countries" not in found:
        made |= {"countries": found["cells"], "viewers": [], "viewer_buckets": NO_VIEWERS}
    return made


def _with_parts(found: Json) -> Json:
    """Return the manifest with names of slices that all have a part."""
    if "last_hours" not in found:
        return found
    last = {
        partition: {"hour": hour, "partition": int(partition), "part": WHOLE_HOUR}
        for partition, hour in found["last_hours"].items()
    }
    slices = {hour: [{**name, "part": WHOLE_HOUR} for name in names] for hour, names in found["slices"].items()}
    rest = {name: value for name, value in found.items() if name != "last_hours"}
    return {**rest, "last_slices": last, "slices": slices}
