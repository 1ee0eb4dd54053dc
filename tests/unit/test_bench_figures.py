"""The benchmark's arithmetic: which samples are the steady state, what follows from them, and what is told."""

import pytest

from benchmarks.freshness import distribution
from benchmarks.measuring.report import compared, ratios, verdicts
from benchmarks.measuring.steady import Rule, Sample, TooShortError, is_over, steady

RULE = Rule(events=1_200_000, closing_after_events=300_000, length_s=20.0, patience_s=40.0)


def samples(events_per_s: int, seconds: int, *, silent_s: int = 3) -> list[Sample]:
    """One a second: nothing at first, then a steady rate at half a CPU second a second."""
    return [
        Sample(100.0 + at, max(0, at - silent_s) * events_per_s, {"taskmanager": 7.0 + at / 2}) for at in range(seconds)
    ]


def test_the_rate_is_that_of_the_steady_state_whatever_the_start_took() -> None:
    found = [steady(samples(30_000, 60, silent_s=silent_s), RULE) for silent_s in (1, 9)]
    for figures in found:
        assert figures.events_per_s == pytest.approx(30_000)
        assert figures.seconds == pytest.approx(20)
        assert figures.is_closing
        assert figures.cpu_s_per_million["taskmanager"] == pytest.approx(0.5 / 0.03)


def test_a_slow_contender_is_measured_before_minutes_close_and_says_so() -> None:
    figures = steady(samples(1000, 80), RULE)
    assert figures.events_per_s == pytest.approx(1000)
    assert not figures.is_closing


def test_the_end_of_the_topic_is_left_out() -> None:
    told = samples(30_000, 60)
    drained = [Sample(s.at_s, min(s.events, 1_150_000), s.cpu_s) for s in told]
    assert steady(drained, RULE).events_per_s == pytest.approx(30_000)
    assert is_over(drained, RULE)


def test_a_topic_read_during_the_warm_up_has_no_steady_state() -> None:
    with pytest.raises(TooShortError, match="no steady state"):
        steady(samples(500_000, 6), RULE)


def test_sampling_goes_on_until_the_length_is_reached() -> None:
    told = samples(20_000, 60)
    over = [n for n in range(1, len(told) + 1) if is_over(told[:n], RULE)]
    figures = steady(told[: over[0]], RULE)
    assert figures.seconds == pytest.approx(RULE.length_s)


def contender(name: str, kind: str, rate: float, batch: int = 1) -> dict[str, object]:
    return {
        "name": name,
        "kind": kind,
        "events_per_batch": batch,
        "steady": {"events_per_s": rate, "cpu_s_per_million_all": 2.0},
    }


def test_ratios_are_to_the_best_of_the_others_and_name_a_target_that_is_missed() -> None:
    lines = [
        contender("a-50", "a", 900.0, 50),
        contender("a-2000", "a", 500.0, 2000),
        contender("b-2000", "b", 110.0, 2000),
        contender("c-slow", "c", 10.0),
        contender("c-fast", "c", 100.0),
    ]
    found = {(entry["of"], entry["to"]): entry for entry in ratios(lines, {"a": 4.0, "b": 1.5})}
    assert found.keys() == {("a-2000", "c-fast"), ("b-2000", "c-fast")}
    assert found["a-2000", "c-fast"]["events_per_s"] == 5.0
    assert found["a-2000", "c-fast"]["is_reached"]
    assert not found["b-2000", "c-fast"]["is_reached"]
    assert [said.endswith("NOT REACHED") for said in verdicts(found.values())] == [False, True]


def test_ratios_of_turns_are_those_of_their_medians_beside_each_turn_of_its_own() -> None:
    first = [contender("a-2000", "a", 100.0, 2000), contender("c-fast", "c", 100.0), contender("c-slow", "c", 10.0)]
    turns = [
        contender(name, name[0], rate, 2000) | {"turn": turn}
        for turn, name, rate in (
            (1, "a-2000", 300.0), (1, "c-fast", 100.0),
            (2, "a-2000", 500.0), (2, "c-fast", 50.0),
            (3, "a-2000", 400.0), (3, "c-fast", 80.0),
        )
    ]  # fmt: skip
    assert compared(first) == ["a-2000", "c-fast"]
    (found,) = ratios(first, {"a": 4.0}, turns)
    assert found["events_per_s"] == 5.0
    assert found["by_turn"] == [3.0, 10.0, 5.0]
    (said,) = verdicts([found])
    assert "5 times" in said
    assert "(3, 10, 5 by turn)" in said
    # A turn in which one of them failed is paired with nothing.
    (without_one,) = ratios(
        first, {"a": 4.0}, [line for line in turns if (line["turn"], line["name"]) != (1, "c-fast")]
    )
    assert without_one["by_turn"] == [10.0, 5.0]


def test_percentiles_are_values_that_were_measured() -> None:
    found = distribution([number / 100 for number in range(1, 201)])
    assert found == {"p50": 1.0, "p90": 1.8, "p95": 1.9, "p99": 1.98, "max": 2.0}
