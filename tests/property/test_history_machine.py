"""The batch layer under rollups, audits, erasures and queries that interleave and are killed: tests.machine."""

import random
import time

import pytest

from tests.machine.mutations import FAST, MUTATIONS, find
from tests.machine.scenes import MEETINGS, SCENES, Scene
from tests.machine.schedule import Play, fault, runs, schedule, shortest
from tests.support.tiers import is_fast

# Random schedules for so long; `python -m tests.machine` plays more.
SECONDS = 12.0
MEETINGS_S = 2.0 if is_fast() else 8.0
MUTATION_S = 600.0


# The fast tier plays some of them, below.
@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES, ids=[scene.name for scene in SCENES])
def test_what_once_went_wrong_holds(scene: Scene) -> None:
    error = fault(scene.operations)
    assert error is None, f"{scene.wrong} Now: {error}"


def test_jobs_that_meet_at_their_critical_steps_hold() -> None:
    # As many as the time allows, others each time; a name is the same scene wherever it is played.
    until = time.perf_counter() + MEETINGS_S
    scenes = [*SCENES, *MEETINGS] if is_fast() else MEETINGS
    chosen = random.SystemRandom().sample(scenes, len(scenes))
    played = 0
    for scene in chosen:
        if time.perf_counter() > until:
            break
        error = fault(scene.operations)
        assert error is None, f"{scene.name}: {error}"
        played += 1
    assert played


@pytest.mark.slow
def test_random_schedules_hold() -> None:
    # Another first seed each time; a seed that fails is named, and is the same schedule wherever it is played.
    first = random.SystemRandom().randrange(1 << 32)
    found = runs(range(first, 1 << 40), SECONDS)
    if found.failed is not None:
        operations = shortest(schedule(found.failed), 60)
        told: list[str] = []
        error = fault(operations, told.append)
        pytest.fail("\n".join([f"seed {found.failed}: {error}", *told, str(operations)]))
    # Else it would have looked at nothing.
    assert found.steps > 1000
    assert found.met


@pytest.mark.slow
def test_a_schedule_is_the_same_whenever_it_is_played() -> None:
    for seed in (4, 5):
        told: list[list[str]] = [[], []]
        for of in told:
            fault(schedule(seed), of.append)
        assert told[0] == told[1]
        assert any("put" in text for text in told[0])


def test_a_falsified_total_is_found() -> None:
    """What the checks are for: one view too many in a published file is seen at once."""
    played = Play()
    played.play([("hour", 8, 7)] * 3 + [("rollup", 0, 0), ("go", 0, 7)], to_its_end=False)
    world = played.world
    world.check_tables()
    rows = world.tables.rows["view_totals"]
    assert rows
    cells = next(iter(rows.values()))
    cells["views"] = cells["views"]._replace(value=cells["views"].value + 1)  # type: ignore[operator]
    with pytest.raises(AssertionError, match="view_totals"):
        world.check_tables()


@pytest.mark.nightly
@pytest.mark.parametrize("name", FAST)
def test_a_fault_that_is_put_back_is_found(name: str) -> None:
    found = find(name, MUTATION_S)
    assert found.error is not None, found.how
    # Not by chance, and not by another scene that happens to come first.
    assert found.by == next(one.scene for one in MUTATIONS if one.name == name)
