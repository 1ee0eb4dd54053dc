"""A folder of overflow in memory, and a drainer beside a log in memory that is a list of records by partition."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.declaration import Declaration
from services.drain.drainer import Clock, Drainer
from services.drain.kafka_sink import Outcome
from services.drain.metrics import DrainMetrics
from settings import Settings
from udfs.logic.overflow.drained import Drained
from udfs.logic.overflow.draining import Batch
from udfs.logic.overflow.object_name import ObjectName


class KilledError(BaseException):
    """The process was killed."""


class MemoryObjects:
    """Objects and accounts. `dies` is called before each change, and may raise KilledError."""

    def __init__(self, dies: Callable[[str], None] = lambda _step: None) -> None:
        self.objects: dict[ObjectName, bytes] = {}
        self.drained: dict[ObjectName, Drained] = {}
        self.dies = dies

    def put(self, name: ObjectName, content: bytes) -> None:
        self.objects[name] = content

    def names(self) -> list[ObjectName]:
        return sorted(self.objects, key=lambda name: name.text)

    def known_names(self) -> tuple[list[ObjectName], list[str]]:
        return self.names(), []

    def read(self, name: ObjectName) -> bytes | None:
        return self.objects.get(name)

    def delete(self, name: ObjectName) -> None:
        self.dies("before delete")
        self.objects.pop(name, None)
        self.dies("after delete")

    def account(self, name: ObjectName) -> Drained | None:
        return self.drained.get(name)

    def put_account(self, name: ObjectName, account: Drained) -> None:
        self.dies("before account")
        self.drained[name] = account
        self.dies("after account")

    def accounts(self, since: ObjectName | None = None) -> list[ObjectName]:
        names = sorted(self.drained, key=lambda name: name.text)
        return [name for name in names if since is None or name.text >= since.text]

    def delete_account(self, name: ObjectName) -> None:
        self.drained.pop(name, None)


class MemoryLog:
    """A topic: (append time, salt, value) of each record by partition. Those in `dead` acknowledge nothing."""

    def __init__(self, now_ms: Callable[[], int], dies: Callable[[str], None] = lambda _step: None) -> None:
        self.now_ms = now_ms
        self.dies = dies
        self.dead: set[int] = set()
        self.records: dict[int, list[tuple[int, int, bytes]]] = {}
        self.diverted: list[bytes] = []
        self.letters: list[bytes] = []

    def write(self, batches: Mapping[int, Sequence[Batch]]) -> dict[int, Outcome]:
        found = {}
        for partition, mine in batches.items():
            self.dies("between partitions")
            if partition in self.dead:
                found[partition] = Outcome(failure="no answer")
                continue
            stamp_ms = self.now_ms()
            self.records.setdefault(partition, []).extend((stamp_ms, one.salt, one.value) for one in mine)
            found[partition] = Outcome(stamp_ms)
        self.dies("after records")
        return found

    def write_diverted(self, batches: Sequence[Batch]) -> Outcome:
        self.diverted += [one.value for one in batches]
        return Outcome(self.now_ms())

    def write_letters(self, letters: Sequence[bytes]) -> Outcome:
        self.letters += letters
        return Outcome(self.now_ms())


class Time:
    """A clock that moves when it is told to, and while somebody sleeps."""

    def __init__(self, now_ms: int) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    @property
    def clock(self) -> Clock:
        def sleep(seconds: float) -> None:
            self.ms += round(seconds * 1000)

        return Clock(self.now_ms, lambda: self.ms / 1000, sleep)


def drainer_of(settings: Settings, objects: MemoryObjects, log: MemoryLog, time: Time, **changes: Any) -> Drainer:
    """A drainer that begins. The stream's frontier is unknown unless the changes say otherwise."""
    said: dict[str, Any] = {
        "declared": lambda: Declaration(settings.counting.salts, settings.kafka.partitions),
        "frontier_ms": lambda: None,
        "figures": DrainMetrics(),
        "lease": lambda _name: True,
        "producer_id": "drain-test",
        **changes,
    }
    return Drainer(settings, objects, log, clock=time.clock, **said)
