"""Who holds the lease of history, how long a holder is waited for, and what one that has lost it can still do."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cassandra import OperationTimedOut

from tests.support.free_register import register_of
from tests.support.memory_registers import MemoryRegisters
from udfs.logic.history.manifest import HistoryError
from udfs.logic.history.register import KEPT_MANIFESTS, TOKEN_STEP_US, Applied, Register, manifest_name, token_of
from udfs.stores import lease as leases
from udfs.stores.lease import HeldLease, Lease, LeaseHolder, LeaseLostError

PATH = "s3://view-counts/history"
NOW_S = 1_764_300_000.0
LIVING_S, SILENT_S = 600.0, 60.0


class Clock:
    """Passes when somebody sleeps; then whatever else there is gets its turn."""

    def __init__(self, meanwhile: Callable[[float], object] = lambda _s: None) -> None:
        self.passed_s = 0.0
        self._meanwhile = meanwhile

    def now_s(self) -> float:
        return NOW_S + self.passed_s

    def sleep(self, seconds: float) -> None:
        self.passed_s += seconds
        self._meanwhile(self.passed_s)


def holder_of(registers: Any, clock: Clock | None = None, kind: str = "rollup", **named: Any) -> LeaseHolder:
    clock = clock or Clock()
    given: dict[str, Any] = {"living_s": LIVING_S, "silent_s": SILENT_S, "deadline_s": 3600, **named}
    return LeaseHolder(registers, PATH, kind, now_s=clock.now_s, sleep=clock.sleep, **given)


def held_by(registers: MemoryRegisters, holder: str = "audit 1") -> Register:
    """The register, once somebody has the lease."""
    free = registers.read()
    assert free is not None
    held = msgspec.structs.replace(free, token=free.token + TOKEN_STEP_US, holder=holder)
    assert registers.swap(free, held)
    return held


def now(registers: MemoryRegisters) -> Register:
    found = registers.read()
    assert found is not None
    return found


# --- taking it


def test_a_lease_that_nobody_holds_is_taken_at_once() -> None:
    registers, clock = register_of(PATH), Clock()
    before = now(registers)
    with holder_of(registers, clock) as one:
        assert clock.passed_s == 0
        register = now(registers)
        assert one.register == register
        assert register.holder.startswith("rollup ")
        # The clock's, in µs; and nothing else has changed.
        assert (register.token, one.lease.token) == (int(NOW_S * 1_000_000),) * 2
        assert msgspec.structs.replace(register, token=before.token, holder="") == before
        assert one.lease.held == HeldLease(register.token, register.holder, int((NOW_S + 3600) * 1000))
        assert one.lease.check() == register
    assert now(registers) == msgspec.structs.replace(register, holder="")


def test_a_token_is_above_the_one_before_whatever_clocks_say() -> None:
    registers = register_of(PATH)
    ahead = msgspec.structs.replace(now(registers), token=int(NOW_S * 1_000_000) + 5_000_000)
    registers = MemoryRegisters(ahead)
    tokens = []
    for _ in range(2):
        with holder_of(registers) as one:
            tokens.append(one.lease.token)
    assert tokens == [ahead.token + TOKEN_STEP_US, ahead.token + 2 * TOKEN_STEP_US]


def test_two_of_a_kind_are_not_taken_for_each_other() -> None:
    registers = register_of(PATH)
    holders = set()
    for _ in range(2):
        with holder_of(registers) as one:
            holders.add(one.lease.held.holder)
    assert len(holders) == 2


def test_a_holder_that_says_nothing_is_waited_for_a_minute() -> None:
    registers, clock, said = register_of(PATH), Clock(), list[str]()
    held_by(registers)
    with holder_of(registers, clock, say=said.append) as one:
        assert clock.passed_s == SILENT_S
        assert now(registers).holder == one.lease.held.holder
    # Once, however long it takes.
    assert said == ["waits for audit 1, which holds the lease of history"]


def test_a_holder_that_lives_is_waited_for_and_no_longer_than_so_long() -> None:
    registers = register_of(PATH)
    held = held_by(registers)
    # It says so every ten seconds.
    clock = Clock(lambda passed_s: passed_s % 10 or registers.renew(held))
    with holder_of(registers, clock):
        assert clock.passed_s == LIVING_S


def test_a_holder_that_falls_silent_is_waited_for_a_minute_from_then_on() -> None:
    registers = register_of(PATH)
    held = held_by(registers)
    clock = Clock(lambda passed_s: registers.renew(held) if passed_s <= 100 else None)
    with holder_of(registers, clock):
        assert clock.passed_s == 100 + SILENT_S


def test_a_holder_that_ends_makes_room_at_once() -> None:
    registers = register_of(PATH)
    held = held_by(registers)
    clock = Clock(
        lambda passed_s: registers.swap(held, msgspec.structs.replace(held, holder="")) if passed_s == 7 else None
    )
    with holder_of(registers, clock):
        assert clock.passed_s == 7


class Faster(MemoryRegisters):
    """Somebody else has always changed it just before."""

    def swap(self, old: Register | None, new: Register) -> bool:
        there = now(self)
        super().swap(there, msgspec.structs.replace(there, token=there.token + 1))
        return super().swap(old, new)


def test_who_is_never_fast_enough_gives_up() -> None:
    registers = Faster(now(register_of(PATH)))
    with pytest.raises(
        LeaseLostError, match=r"^rollup \w+ did not get the lease of history, others were always faster"
    ):
        holder_of(registers).__enter__()


def test_a_register_of_another_path_is_refused_with_what_to_do() -> None:
    registers = register_of("s3://view-counts/other")
    refusal = (
        rf"^history\.path={PATH}, and this keyspace's history is at s3://view-counts/other: set "
        "VIEW_COUNTS_HISTORY_PATH to s3://view-counts/other, or use the keyspace that belongs to this path$"
    )
    with pytest.raises(HistoryError, match=refusal):
        holder_of(registers).__enter__()
    assert now(registers).holder == ""


def test_where_there_is_no_register_it_is_said_who_makes_it() -> None:
    refusal = r"no register of history: `python -m tools\.ops history init` makes it, .*tools\.ops history restore`"
    with pytest.raises(HistoryError, match=refusal):
        holder_of(MemoryRegisters()).__enter__()


# --- holding it


def test_a_holder_says_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.001)
    registers = register_of(PATH)
    with holder_of(registers) as one:
        pulses = {registers.pulse()}
        until = time.monotonic() + 30
        while len(pulses) < 3 and time.monotonic() < until:
            pulses.add(registers.pulse())
            time.sleep(0.001)
        assert len(pulses) == 3
        # Until it holds the lease no longer.
        held_by(registers)
        one._renewing.join(30)
        assert not one._renewing.is_alive()


def test_whoever_has_lost_the_lease_finds_out_at_the_next_step_and_leaves_it_alone() -> None:
    registers = register_of(PATH)
    with holder_of(registers) as one:
        taken = held_by(registers)
        lost = rf"^{one.lease.held.holder} no longer holds the lease of history, audit 1 does$"
        for step in (
            one.lease.check,
            lambda: one.lease.publish(manifest_name(one.lease.token, "a")),
            lambda: one.lease.apply(Applied("", 0, 0, 0, 0)),
        ):
            with pytest.raises(LeaseLostError, match=lost):
                step()
    assert now(registers) == taken


def test_a_lease_is_lost_with_the_register() -> None:
    registers = register_of(PATH)
    with holder_of(registers) as one:
        registers.lose()
        with pytest.raises(LeaseLostError, match="no longer holds the lease of history, nobody does"):
            one.lease.check()


def test_a_lease_ends_at_its_deadline_also_for_those_who_work_for_its_holder() -> None:
    registers, clock = register_of(PATH), Clock()
    with holder_of(registers, clock, deadline_s=100) as one:
        of_worker = Lease(registers, one.lease.held, clock.now_s)
        clock.sleep(100)
        assert one.lease.check() == of_worker.check() == now(registers)
        clock.sleep(0.002)
        for each in (one.lease, of_worker):
            with pytest.raises(LeaseLostError, match="has passed its deadline: the next holder does what is left"):
                each.publish(manifest_name(each.token, "a"))
    assert now(registers).manifest == ""


def test_giving_up_a_lease_while_cassandra_is_away_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    registers = register_of(PATH)
    with holder_of(registers) as one:

        def away() -> Register:
            raise OperationTimedOut

        monkeypatch.setattr(registers, "read", away)
    monkeypatch.undo()
    assert now(registers).holder == one.lease.held.holder


# --- publishing


def test_the_manifests_before_the_one_in_force_are_kept_up_to_three() -> None:
    registers, published = register_of(PATH), list[str]()
    for _ in range(KEPT_MANIFESTS + 3):
        with holder_of(registers) as one:
            published.append(one.lease.publish(manifest_name(one.lease.token, "a")))
            register = now(registers)
            assert register.manifest == published[-1]
            assert list(register.kept) == published[:-1][-KEPT_MANIFESTS:]
    assert sorted(published) == published


def test_what_another_attempt_of_the_lease_has_published_stays() -> None:
    registers = register_of(PATH, manifest_name(3, "before"))
    with holder_of(registers) as one:
        first, second = (manifest_name(one.lease.token, attempt) for attempt in "ba")
        of_worker = Lease(registers, one.lease.held, Clock().now_s)
        assert one.lease.publish(first) == first
        assert of_worker.publish(second) == first
        assert one.lease.publish(first) == first
        register = now(registers)
        assert (register.manifest, register.kept) == (first, (manifest_name(3, "before"),))


class Interrupted(MemoryRegisters):
    """Between a look at it and the next change something else happens."""

    def __init__(self, register: Register) -> None:
        super().__init__(register)
        self.between: Callable[[], object] = lambda: None

    def swap(self, old: Register | None, new: Register) -> bool:
        between, self.between = self.between, lambda: None
        between()
        return super().swap(old, new)


def test_an_attempt_that_publishes_while_another_does_finds_that_ones() -> None:
    registers = Interrupted(now(register_of(PATH)))
    with holder_of(registers) as one:
        names = [manifest_name(one.lease.token, attempt) for attempt in "ab"]
        registers.between = lambda: one.lease.publish(names[1])
        assert one.lease.publish(names[0]) == names[1]
    assert (now(registers).manifest, now(registers).kept) == (names[1], ())


def test_whoever_loses_the_lease_while_publishing_has_not_published() -> None:
    registers = Interrupted(now(register_of(PATH, manifest_name(3, "before"))))
    with holder_of(registers) as one:
        for step in (
            lambda: one.lease.publish(manifest_name(one.lease.token, "a")),
            lambda: one.lease.apply(Applied("", 0, 0, 0, 0)),
        ):
            before = now(registers)
            registers.between = lambda: held_by(registers)
            with pytest.raises(LeaseLostError):
                step()
            taken = now(registers)
            assert (taken.holder, taken.manifest, taken.applied) == ("audit 1", before.manifest, before.applied)
            registers.swap(taken, before)
    assert token_of(now(registers).manifest) == 3


def test_what_the_tables_have_is_said_under_the_lease() -> None:
    registers = register_of(PATH)
    with holder_of(registers) as one:
        name = one.lease.publish(manifest_name(one.lease.token, "a"))
        applied = Applied(name, one.lease.token, 5, 9, 8)
        assert now(registers).applied != applied
        one.lease.apply(applied)
        assert now(registers).applied == applied
    assert now(registers).applied == applied
