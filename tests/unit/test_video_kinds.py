"""The list of a video's kinds: as a count by hand has it, bounded, and without kinds that are reserved."""

import json
import random
from collections import defaultdict

import pyarrow as pa
import pytest

from udfs.logic.history.imports import IMPORT
from udfs.logic.history.tables import SUMS
from udfs.logic.history.video_kinds import KINDS, KINDS_MAX, changed, from_text, kinds_of, of_imports

Totals = dict[tuple[str, str], int]


def table(totals: Totals) -> pa.Table:
    rows = [{"video_id": v, "kind": k, "views": n, "late_added": 0} for (v, k), n in sorted(totals.items())]
    return pa.Table.from_pylist(rows, SUMS)


def by_hand(totals: Totals) -> dict[str, tuple[list[str], int]]:
    kinds: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for (video, kind), views in totals.items():
        of = kinds[video]
        if views > 0 and not kind.startswith(("blocked:", "canary:")):
            of.append((-views, kind))
    return {
        video: (sorted(kind for _, kind in sorted(of)[:KINDS_MAX]), max(0, len(of) - KINDS_MAX))
        for video, of in kinds.items()
    }


def listed(kinds: pa.Table) -> dict[str, tuple[list[str], int]]:
    assert kinds.schema == KINDS
    return {row["video_id"]: (from_text(row["kinds"]), row["left_out"]) for row in kinds.to_pylist()}


@pytest.mark.parametrize("seed", range(20))
def test_it_is_as_a_count_by_hand(seed: int) -> None:
    rng = random.Random(seed)
    names = ["view", "like", "blocked:view", "canary:a", "Ä", "blocked", *(f"k{n}" for n in range(2 * KINDS_MAX))]
    totals: Totals = {}
    for video in range(rng.randrange(6)):
        for kind in rng.sample(names, rng.randrange(len(names))):
            totals[f"v{video}", kind] = rng.choice([0, 1, 1, 2, 70])
    assert listed(kinds_of(table(totals))) == by_hand(totals)
    later = dict(totals)
    for key in rng.sample(sorted(totals), min(3, len(totals))):
        later[key] = rng.choice([0, 1, 90])
    later["new", "view"] = 1
    before, after = listed(kinds_of(table(totals))), listed(kinds_of(table(later)))
    wanted = {video: of for video, of in after.items() if before.get(video) != of}
    assert listed(changed(kinds_of(table(later)), kinds_of(table(totals)))) == wanted


def test_no_video_has_no_row() -> None:
    assert listed(kinds_of(SUMS.empty_table())) == {}


def test_a_video_without_listed_kinds_has_an_empty_row() -> None:
    row = kinds_of(table({("v", "blocked:view"): 3, ("v", "like"): 0})).to_pylist()
    assert row == [{"video_id": "v", "kinds": "", "left_out": 0}]
    assert from_text("") == from_text(None) == []


def test_imported_kinds_are_those_of_all_imports() -> None:
    def imported(*rows: tuple[str, str, int]) -> pa.Table:
        return pa.Table.from_pylist([{"video_id": v, "kind": k, "views": n} for v, k, n in rows], IMPORT)

    a, b = imported(("v", "view", 1), ("w", "view", 1)), imported(("v", "like", 1), ("x", "view", 1))
    assert listed(of_imports([a, b], [a])) == {"v": (["like", "view"], 0), "w": (["view"], 0)}
    assert listed(of_imports([b], [a])) == {"v": (["like"], 0), "w": ([], 0)}
    assert json.loads(kinds_of(a)["kinds"][0].as_py()) == ["view"]
