"""Which part of a run is the steady state, and what it says: the same rule for every contender. Pure.

Progress is the number of events in the records that the Kafka source has handed on (its `currentOffset`, looked up in
what was sent): the same meter for a batch of 2,000, a single event and a job in SQL, and with bounded buffers behind
the source and tens of seconds of run it is the rate of the whole job.

The steady state begins when the job has had 10 s to warm up since its first progress *and* has passed as many events
as it takes until minutes close; a job too slow for the latter begins after `patience_s` all the same, and `is_closing`
says so. It ends with `length_s`, or with the last sample before nine tenths of the topic are read. Rate and CPU are
differences between those two samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WARM_UP_S = 10.0
BACKLOG_SHARE = 0.9


@dataclass(frozen=True)
class Sample:
    """At one moment: events read since the start of the topic, and CPU seconds since each process's start."""

    at_s: float
    events: int
    cpu_s: Mapping[str, float]


@dataclass(frozen=True)
class Rule:
    """Where the steady state lies in a run over `events` events."""

    events: int
    closing_after_events: int
    length_s: float
    patience_s: float

    @property
    def end_events(self) -> int:
        """Beyond this, the end of the topic is near."""
        return int(self.events * BACKLOG_SHARE)


@dataclass(frozen=True)
class Steady:
    """What the steady state showed. CPU in seconds per million events, by process."""

    seconds: float
    events: int
    events_per_s: float
    cpu_s_per_million: Mapping[str, float]
    is_closing: bool

    @property
    def cpu_s_per_million_all(self) -> float:
        """Summed over the processes."""
        return sum(self.cpu_s_per_million.values())


class TooShortError(RuntimeError):
    """The run has no steady state: the topic was read before it began, or nothing moved in it."""


def first_progress(samples: Sequence[Sample]) -> Sample | None:
    """The first sample that has read anything."""
    return next((sample for sample in samples if sample.events), None)


def begin(samples: Sequence[Sample], rule: Rule) -> int | None:
    """The index of the steady state's first sample, None while there is none."""
    first = first_progress(samples)
    if first is None:
        return None
    for index, sample in enumerate(samples):
        since_s = sample.at_s - first.at_s
        if since_s >= WARM_UP_S and (sample.events >= rule.closing_after_events or since_s >= rule.patience_s):
            return index
    return None


def is_over(samples: Sequence[Sample], rule: Rule) -> bool:
    """Whether further samples would change nothing."""
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
