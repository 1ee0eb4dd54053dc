"""A part that is beyond its budget is told once, and parts are measured only now and then."""

from tools.stack.memory_watch import EVERY_S, MemoryWatch

BUDGETS = {"kafka": 700, "redis": 90}


def test_a_part_beyond_its_budget_is_told_once_and_again_after_it_was_within() -> None:
    said: list[str] = []
    kafka = iter([700.0, 701.0, 900.0, 10.0, 701.0])
    times = iter(n * EVERY_S for n in range(100))
    watch = MemoryWatch(lambda: {"kafka": next(kafka), "redis": 0.0}, BUDGETS, said.append, lambda: next(times))
    counts = []
    for _ in range(5):
        watch.look()
        counts.append(len(said))
    assert counts == [0, 1, 1, 1, 2]
    assert said[0] == ("kafka has 701 MiB of memory, and its budget is 700: `bin/vc status --memory` shows all parts")


def test_parts_are_measured_at_once_and_then_only_now_and_then() -> None:
    measured: list[float] = []
    now = [0.0]

    def used() -> dict[str, float]:
        measured.append(now[0])
        return {}

    watch = MemoryWatch(used, BUDGETS, print, lambda: now[0])
    for second in range(int(2 * EVERY_S) + 1):
        now[0] = float(second)
        watch.look()
    assert measured == [0.0, EVERY_S, 2 * EVERY_S]
