"""Brings objects of overflow to Kafka, and deletes them when the stream has counted them. Knows no Kafka and no S3.

All that must be remembered lies beside the objects, so a drainer may be killed at any moment, and any number of them
may run: an object that is drained twice changes nothing. Within an object each partition is written for itself, and
one that takes no records holds back its own events alone. Every call blocks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import structlog

from schemas.declaration import Declaration
from services.drain.kafka_sink import Outcome
from services.ingest.broker_clocks import BrokerClocks
from settings import Settings
from settings.durations import DAY_MS, HOUR_MS
from udfs.logic.overflow.drain_rate import drain_rate
from udfs.logic.overflow.drained import Drained, may_delete
from udfs.logic.overflow.draining import Batch, Part, parts_of
from udfs.logic.overflow.object_file import ObjectError, decode
from udfs.logic.overflow.object_name import Destination, ObjectName

LOG = structlog.get_logger("drain")
# Objects that are not deleted yet are listed again after this time of draining.
TURN_S = 10.0
# Accounts are looked through this often for those that nobody needs.
FORGET_S = 3600.0


class Objects(Protocol):
    """What a drainer does with the store; see udfs.stores.overflow_objects."""

    def known_names(self) -> tuple[list[ObjectName], list[str]]: ...  # noqa: D102
    def read(self, name: ObjectName) -> bytes | None: ...  # noqa: D102
    def delete(self, name: ObjectName) -> None: ...  # noqa: D102
    def account(self, name: ObjectName) -> Drained | None: ...  # noqa: D102
    def put_account(self, name: ObjectName, account: Drained) -> None: ...  # noqa: D102
    def accounts(self, since: ObjectName | None = None) -> list[ObjectName]: ...  # noqa: D102
    def delete_account(self, name: ObjectName) -> None: ...  # noqa: D102


class Sink(Protocol):
    """What a drainer writes to; see services.drain.kafka_sink."""

    def write(self, batches: Mapping[int, Sequence[Batch]]) -> dict[int, Outcome]: ...  # noqa: D102
    def write_diverted(self, batches: Sequence[Batch]) -> Outcome: ...  # noqa: D102
    def write_letters(self, letters: Sequence[bytes]) -> Outcome: ...  # noqa: D102


class Clock(NamedTuple):
    """The time in ms since 1970, a time in s that never steps back, and a sleep that ends when the process must."""

    now_ms: Callable[[], int]
    monotonic_s: Callable[[], float]
    sleep: Callable[[float], object]


class Figures(Protocol):
    """What is told of a drainer; see services.drain.metrics."""

    def waiting(self, names: Sequence[ObjectName], now_ms: int) -> None: ...  # noqa: D102
    def done(self, account: Drained) -> None: ...  # noqa: D102
    def broken(self, count: int) -> None: ...  # noqa: D102


class _Begun(NamedTuple):
    """What this process has done of an object that is not drained yet: the partitions left, and the sums so far."""

    left: frozenset[int]
    events: int
    too_old: int
    refused: int
    stamp_ms: int


class Drainer:
    """Drains one folder.

    `declared` gives the declaration in force, and `frontier_ms` an append time that the stream has passed, or None.
    `lease` says whether no other drainer is known to be at an object.
    """

    def __init__(
        self,
        settings: Settings,
        objects: Objects,
        sink: Sink,
        *,
        declared: Callable[[], Declaration],
        frontier_ms: Callable[[], int | None],
        clock: Clock,
        figures: Figures,
        lease: Callable[[ObjectName], bool],
        producer_id: str,
    ) -> None:
        self._settings = settings
        self._objects = objects
        self._sink = sink
        self._declared = declared
        self._frontier_ms = frontier_ms
        self._clock = clock
        self._figures = figures
        self._lease = lease
        self._producer_id = producer_id
        self._accounts: dict[ObjectName, Drained] = {}
        self._begun: dict[ObjectName, _Begun] = {}
        self._broken: set[ObjectName] = set()
        self._others: list[str] = []
        # Until when nothing is written to a partition.
        self._held: dict[int, float] = {}
        self._is_of: Declaration | None = None
        self._clocks = BrokerClocks(settings.kafka.partitions)
        self._forgot_at_s: float | None = None

    def turn(self) -> None:
        """Delete what is counted, and drain for a while what is not in Kafka yet, the oldest first."""
        names, others = self._objects.known_names()
        now_ms = self._clock.now_ms()
        self._figures.waiting(names, now_ms)
        self._remember(names)
        frontier_ms = self._frontier_ms()
        drained = frozenset(self._objects.accounts(names[0])) if names else frozenset()
        waiting = [name for name in names if not self._is_over(name, drained, frontier_ms)]
        self._figures.broken(len(self._broken) + len(others))
        if others and others != self._others:
            LOG.warning("files that are no objects of overflow: move them out of the folder", files=others[:3])
        self._others = others
        self._forget(frozenset(names))
        if waiting:
            self._drain_all(waiting, frontier_ms)

    def _drain_all(self, waiting: Sequence[ObjectName], frontier_ms: int | None) -> None:
        declared = self._declared()
        if declared != self._is_of:
            self._is_of = declared
            self._begun.clear()
            self._held.clear()
            self._clocks = BrokerClocks(declared.partitions)
        began_s = self._clock.monotonic_s()
        held = self._held_after(began_s)
        lag_ms = None if frontier_ms is None else self._clock.now_ms() - frontier_ms
        rate = self._rate(lag_ms)
        for name in waiting:
            at_s = self._clock.monotonic_s()
            if at_s - began_s > TURN_S:
                return
            begun = self._begun.get(name)
            if (begun is not None and begun.left <= held) or not self._lease(name):
                continue
            written = self._drain(name, declared, held)
            self._clock.sleep(max(0.0, written / rate - (self._clock.monotonic_s() - at_s)))
            # A partition that is tried again in this turn would get younger events before older ones.
            held |= self._held_after(began_s)

    def _drain(self, name: ObjectName, declared: Declaration, held: frozenset[int]) -> int:
        """Write what is left of an object, save to partitions that are held. Return how many events were written."""
        content = self._objects.read(name)
        # Another drainer may have deleted or drained it since it was listed.
        if content is None or self._objects.account(name) is not None:
            return 0
        try:
            events = decode(content, name.events)
        except ObjectError as error:
            self._broken.add(name)
            LOG.warning("an object cannot be drained, and stays: look at it", object=name.text, reason=str(error))
            return 0
        parts = parts_of(
            events,
            name.text,
            declared,
            now_ms=self._clock.now_ms(),
            late_ms=self._settings.history.late_hours * HOUR_MS,
            batch_events_max=self._settings.ingest.batch_events_max,
            producer_id=self._producer_id,
        )
        begun = self._begun.get(name) or _Begun(frozenset(parts), 0, 0, 0, 0)
        chosen = {one: part for one, part in parts.items() if one in begun.left - held}
        if name.destination is Destination.DIVERTED:
            outcomes = self._divert(chosen)
        else:
            outcomes = self._sink.write({one: part.batches for one, part in chosen.items() if part.batches})
        for partition, part in chosen.items():
            begun = self._after(partition, part, outcomes.get(partition, Outcome()), begun)
        if begun.left:
            self._begun[name] = begun
        else:
            account = Drained(begun.events, begun.too_old, begun.refused, begun.stamp_ms, self._clock.now_ms())
            self._objects.put_account(name, account)
            self._accounts[name] = account
            self._begun.pop(name, None)
            self._figures.done(account)
        return sum(part.events for part in chosen.values())

    def _divert(self, parts: Mapping[int, Part]) -> dict[int, Outcome]:
        """Write to the topic of diverted keys, which is no matter of partitions."""
        outcome = self._sink.write_diverted([one for part in parts.values() for one in part.batches])
        return dict.fromkeys(parts, outcome)

    def _after(self, partition: int, part: Part, outcome: Outcome, begun: _Begun) -> _Begun:
        """What is done of an object after a part of it was written, or was not."""
        if outcome.failure is None and part.letters:
            outcome = outcome._replace(failure=self._sink.write_letters(part.letters).failure)
        now_ms = self._clock.now_ms()
        if outcome.failure is not None:
            self._hold(partition, outcome.failure)
            return begun
        if outcome.stamp_ms:
            self._clocks.acknowledged(partition, outcome.stamp_ms, now_ms)
            trouble = self._clocks.trouble(partition)
            if trouble is not None:
                self._hold(partition, trouble)
        return _Begun(
            begun.left - {partition},
            begun.events + part.events,
            begun.too_old + part.too_old,
            begun.refused + part.refused,
            # A broker whose clock is behind must not make an object look older than it is.
            max(begun.stamp_ms, outcome.stamp_ms, now_ms),
        )

    def _held_after(self, at_s: float) -> frozenset[int]:
        return frozenset(partition for partition, until_s in self._held.items() if until_s > at_s)

    def _hold(self, partition: int, reason: str) -> None:
        self._held[partition] = self._clock.monotonic_s() + self._settings.drain.hold_s
        LOG.warning("holds a partition", partition=partition, reason=reason)

    def _remember(self, names: Sequence[ObjectName]) -> None:
        """Drop what is known of objects that are gone."""
        there = frozenset(names)
        for known in (self._accounts, self._begun):
            for name in known.keys() - there:
                del known[name]
        self._broken &= there

    def _is_over(self, name: ObjectName, drained: frozenset[ObjectName], frontier_ms: int | None) -> bool:
        """Whether nothing of an object is left to be written. If it is counted, too, it is deleted."""
        if name in self._broken:
            return True
        account = self._accounts.get(name)
        if account is None and name in drained:
            account = self._objects.account(name)
        if account is None:
            return False
        self._accounts[name] = account
        if may_delete(name, account, frontier_ms, self._settings.drain.skew_ms):
            self._objects.delete(name)
        return True

    def _forget(self, there: frozenset[ObjectName]) -> None:
        """Delete accounts that are old, now and then."""
        now_s = self._clock.monotonic_s()
        if self._forgot_at_s is not None and now_s - self._forgot_at_s < FORGET_S:
            return
        self._forgot_at_s = now_s
        # An object that is older than late events are added was drained by then, or is there.
        kept_ms = self._settings.drain.kept_days * DAY_MS + self._settings.history.late_hours * HOUR_MS
        for name in self._objects.accounts():
            if name not in there and name.made_ms < self._clock.now_ms() - kept_ms:
                self._objects.delete_account(name)

    def _rate(self, lag_ms: int | None) -> float:
        drain = self._settings.drain
        return drain_rate(
            lag_ms, most=drain.events_per_second_max, least=drain.events_per_second_min, lag_max_ms=drain.lag_max_ms
        )
