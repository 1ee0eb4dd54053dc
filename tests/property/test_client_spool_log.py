"""A log of the spool loses nothing and repeats little, wherever a process is killed or a disk is torn."""

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from view_counts_client.events import Event
from view_counts_client.spool.log import Fsync, Log, Part
from view_counts_client.spool.records import encoded, records

SEGMENT_BYTES_MAX = 600
ALL = 1 << 30


def event(number: int, *, by_device: bool = False) -> Event:
    """One with fields that look like the head of a record."""
    identity = f"text-{number}" if number % 3 == 0 else number.to_bytes(16, "big")
    return Event(identity, number, by_device, b'"video_id":"\xfb\0\0\0\1"' * (number % 4))


def opened(folder: Path) -> Log:
    return Log(folder, "viewed", Fsync.NEVER, segment_bytes_max=SEGMENT_BYTES_MAX)


def left(log: Log) -> list[Event]:
    found: list[Event] = []
    while part := log.read(7, ALL).events:
        found += part
    return found


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


class Machine:
    """A log, what it should hold, and what may happen to it."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self.path = path
        self.chance = chance
        self.log = opened(path)
        self.made = 0
        # In order: what is on disk and not settled, and of it what was read by this process.
        self.held: list[Event] = []
        self.parts: list[Part] = []

    def append(self) -> None:
        events = [event(self.made + place) for place in range(self.chance.randint(1, 5))]
        self.made += len(events)
        self.log.append(events)
        self.held += events

    def read(self) -> None:
        part = self.log.read(self.chance.randint(1, 9), self.chance.choice([1, 200, ALL]))
        before = sum(len(one.events) for one in self.parts)
        assert part.events == self.held[before : before + len(part.events)]
        assert part.events or len(self.held) == before
        if part.events:
            self.parts.append(part)

    def settle(self) -> None:
        if self.parts:
            part = self.parts.pop(0)
            self.log.settled(part)
            self.held = self.held[len(part.events) :]
        assert self.log.unread + self.log.unsettled == len(self.held)
        assert self.log.is_drained() == (not self.held)

    def killed(self) -> None:
        """Killed, perhaps in the midst of an append, of which any part may be there."""
        if self.chance.random() < 0.5 and self.log._fd >= 0:
            torn = encoded(event(10_000))
            with self.log._segment(self.log._number).open("ab") as file:
                file.write(torn[: self.chance.randrange(len(torn))])
        self.log.abandon()
        self.log = opened(self.path)
        self.parts = []
        assert self.log.unread == len(self.held)

    def killed_while_it_noted_what_is_settled(self) -> None:
        if not self.parts:
            return
        before = self.held
        self.settle()
        place = 32 * (self.log._done_count % 2)
        done = self.path / "viewed.done"
        data = bytearray(done.read_bytes())
        data[place + self.chance.randrange(28)] ^= 1 + self.chance.randrange(255)
        done.write_bytes(data)
        self.log.abandon()
        self.log = opened(self.path)
        self.parts = []
        # One part at most is sent again. A segment that was over is gone for good.
        self.held = before[len(before) - self.log.unread :]
        assert self.log.unread <= len(before)


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_what_is_appended_is_read_until_it_is_settled(seed: int, steps: int) -> None:
    with folder() as path:
        machine = Machine(path, random.Random(seed))
        for _ in range(steps):
            step = machine.chance.choices(
                (
                    machine.append,
                    machine.read,
                    machine.settle,
                    machine.killed,
                    machine.killed_while_it_noted_what_is_settled,
                ),
                (4, 4, 4, 1, 1),
            )[0]
            step()
        machine.killed()
        assert left(machine.log) == machine.held
        machine.log.abandon()


@given(st.integers(0, 2**32))
def test_disk_is_given_back_when_all_is_settled(seed: int) -> None:
    with folder() as path:
        machine = Machine(path, random.Random(seed))
        for _ in range(30):
            machine.append()
        while machine.held:
            machine.read()
            machine.settle()
        sizes = [one.stat().st_size for one in path.glob("*.log")]
        assert len(sizes) <= 1
        assert sum(sizes) <= SEGMENT_BYTES_MAX
        machine.log.close()


@given(st.integers(0, 2**32), st.data())
def test_a_byte_that_is_wrong_costs_the_record_that_it_is_in(seed: int, data: st.DataObject) -> None:
    chance = random.Random(seed)
    events = [event(number) for number in range(20)]
    written = b"VCS1\n" + b"".join(map(encoded, events))
    ends = [record.end for record in records(written, 5)]
    place = data.draw(st.integers(5, len(written) - 1))
    broken = bytearray(written)
    broken[place] ^= 1 + chance.randrange(255)
    lost = sum(end <= place for end in ends)
    found = [record.event for record in records(bytes(broken), 5)]
    assert found == events[:lost] + events[lost + 1 :]


@given(st.integers(0, 400))
def test_a_file_that_ends_anywhere_has_what_is_whole(size: int) -> None:
    events = [event(number) for number in range(20)]
    written = b"VCS1\n" + b"".join(map(encoded, events))
    whole = sum(record.end <= size for record in records(written, 5))
    assert [record.event for record in records(written[:size], 5)] == events[:whole]


@given(st.integers(0, 2**32), st.integers(-10_000, 10_000))
def test_times_are_set_right_once_and_stay_so(seed: int, shift_ms: int) -> None:
    chance = random.Random(seed)
    with folder() as path:
        log = opened(path)
        made = [event(number, by_device=chance.random() < 0.7) for number in range(1, 30)]
        for one in made:
            log.append([one])
            if chance.random() < 0.1:
                log.abandon()
                log = opened(path)
        log.correct(shift_ms)
        after = event(100)
        log.append([after])
        wanted = [
            one._replace(viewed_at_ms=one.viewed_at_ms + (shift_ms if one.by_device else 0), by_device=False)
            for one in made
        ]
        assert left(log) == [*wanted, after]
        # Another process, which finds that its clock is off by something else.
        log.abandon()
        log = opened(path)
        log.correct(shift_ms + 77)
        assert left(log) == [*wanted, after]
        log.abandon()


def test_events_that_the_disk_has_lost_are_not_waited_for_for_ever() -> None:
    with folder() as path:
        log = opened(path)
        log.append([event(1), event(2)])
        segment = log._segment(log._number)
        segment.write_bytes(segment.read_bytes().replace(b"\xfb", b"\xfa"))
        assert log.read(9, ALL).events == []
        assert log.is_drained()
        log.append([event(3)])
        assert log.read(9, ALL).events == [event(3)]
        log.abandon()
