"""Finds the steady state of a run and its figures, by the same rule for every contender. Pure.

Progress is the number of events in the records that the Kafka source has sent on: its `currentOffset`, looked up in
what was sent. It is the same measure for batches of 2,000, for single events and for a job in SQL. Buffers after the
source are bounded, so over tens of seconds it is the rate of the whole job.

The steady state begins when the job has had 10 s to warm up since its first progress, and has read so many events that
minutes close. A job that is too slow for the latter begins after `patience_s`, and `is_closing` is then false. The
steady state ends after `length_s`, or with the last sample before nine tenths of the topic are read. Rate and CPU time
are differences between the first and the last sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WARM_UP_S = 10.0
BACKLOG_SHARE = 0.9


@dataclass(frozen=True)
class Sample:
    """The state at one moment: events read from the topic, and CPU seconds of each process since its start."""

    at_s: float
    events: int
    cpu_s: Mapping[str, float]


@dataclass(frozen=True)
class Rule:
    """The rule for the steady state of a run over `events` events."""

    events: int
    closing_after_events: int
    length_s: float
    patience_s: float

    @property
    def end_events(self) -> int:
        """The number of events after which the end of the topic is near, so that the steady state ends."""
        return int(self.events * BACKLOG_SHARE)


@dataclass(frozen=True)
class Steady:
    """The figures of a steady state. CPU time is in seconds per million events, by process."""

    seconds: float
    events: int
    events_per_s: float
    cpu_s_per_million: Mapping[str, float]
    is_closing: bool

    @property
    def cpu_s_per_million_all(self) -> float:
        """The CPU time of all processes together."""
        return sum(self.cpu_s_per_million.values())


class TooShortError(RuntimeError):
    """The run has no steady state: the topic was read before it began, or nothing was read in it."""


def first_progress(samples: Sequence[Sample]) -> Sample | None:
    """The first sample in which events were read; None if there is none."""
    return next((sample for sample in samples if sample.events), None)


def begin(samples: Sequence[Sample], rule: Rule) -> int | None:
    """The index of the steady state's first sample; None if it has not begun."""
    first = first_progress(samples)
    if first is None:
        return None
    for index, sample in enumerate(samples):
        since_s = sample.at_s - first.at_s
        if since_s >= WARM_UP_S and (sample.events >= rule.closing_after_events or since_s >= rule.patience_s):
            return index
    return None


def is_over(samples: Sequence[Sample], rule: Rule) -> bool:
    """Whether the steady state has ended, so that no further samples are needed."""
    if not samples:
        return False
    start = begin(samples, rule)
    return samples[-1].events >= rule.end_events or (
        start is not None and samples[-1].at_s - samples[start].at_s >= rule.length_s
    )


def steady(samples: Sequence[Sample], rule: Rule) -> Steady:
    """The figures of a run. Raises TooShortError."""
    start = begin(samples, rule)
    if start is None:
        raise TooShortError(
            f"the run had no steady state: {samples[-1].events if samples else 0} of {rule.events} events were read "
            f"within {WARM_UP_S:.0f} s of the first; give the contender more events"
        )
    first = samples[start]
    inside = [s for s in samples[start:] if s.events <= rule.end_events and s.at_s - first.at_s <= rule.length_s]
    last = inside[-1] if inside else first
    seconds, events = last.at_s - first.at_s, last.events - first.events
    if seconds <= 0 or events <= 0:
        raise TooShortError(
            f"nothing was read in the steady state, which began at {first.events} of {rule.events} events and lasted "
            f"{seconds:.1f} s; give the contender more events or more time"
        )
    millions = events / 1e6
    cpu = {name: (last.cpu_s[name] - first.cpu_s.get(name, 0.0)) / millions for name in last.cpu_s}
    return Steady(seconds, events, events / seconds, cpu, first.events >= rule.closing_after_events)
