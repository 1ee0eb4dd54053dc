"""The register in Cassandra does what Registers says: a swap by what was read, a lease that one has, a pulse."""

import threading
from collections.abc import Iterator

import msgspec
import pytest

from connectors.cassandra import connect, migrate
from settings import CassandraSettings
from tools.stack import Stack
from tools.stack.machine.ports import HOST
from udfs.logic.history.register import Register, manifest_name, nothing_applied
from udfs.stores.history_register import CassandraRegisters
from udfs.stores.lease import LeaseHolder, LeaseLostError

PATH = "s3://view-counts/register"


@pytest.fixture
def registers(shared_stack: Stack) -> Iterator[CassandraRegisters]:
    settings = CassandraSettings(hosts=HOST, port=shared_stack.ports["cassandra"], keyspace="registered")
    migrate([HOST], settings.port, settings)
    session = connect(settings)
    session.execute("TRUNCATE history_register")
    yield CassandraRegisters(session)
    session.cluster.shutdown()


def test_it_is_changed_by_what_was_read_alone(registers: CassandraRegisters) -> None:
    new = Register(PATH, 1_700_000_000_123, 5, "", "", (), nothing_applied())
    assert registers.read() is None
    assert registers.swap(None, new)
    assert registers.read() == new
    assert not registers.swap(None, msgspec.structs.replace(new, token=6))
    taken = msgspec.structs.replace(new, token=7, holder="one", manifest="m", kept=("k",), applied=None)
    assert registers.swap(new, taken)
    assert registers.read() == taken
    assert not registers.swap(new, msgspec.structs.replace(new, token=8, holder="other"))
    pulse = registers.pulse()
    assert registers.renew(taken)
    assert registers.pulse() != pulse
    assert not registers.renew(new)
    assert registers.read() == taken


def test_of_many_who_take_the_lease_at_once_each_has_it_in_turn(registers: CassandraRegisters) -> None:
    assert registers.swap(None, Register(PATH, 0, 0, "", "", (), nothing_applied()))
    held: list[int] = []
    inside = threading.Lock()

    def hold(number: int) -> None:
        with LeaseHolder(registers, PATH, f"test {number}", deadline_s=60) as holder:
            assert inside.acquire(blocking=False)
            holder.lease.publish(manifest_name(holder.lease.token, "a"))
            held.append(holder.lease.token)
            inside.release()

    threads = [threading.Thread(target=hold, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    register = registers.read()
    assert register is not None
    assert (len(held), sorted(held), register.holder) == (4, held, "")
    assert register.all_kept == tuple(manifest_name(token, "a") for token in held)


def test_who_was_silent_for_too_long_finds_out(registers: CassandraRegisters) -> None:
    assert registers.swap(None, Register(PATH, 0, 0, "", "", (), nothing_applied()))
    with (
        LeaseHolder(registers, PATH, "first", deadline_s=60) as first,
        LeaseHolder(registers, PATH, "second", deadline_s=60, living_s=0) as second,
    ):
        with pytest.raises(LeaseLostError, match="no longer holds the lease of history, second"):
            first.lease.check()
        assert second.lease.check().token == second.lease.token
        assert second.lease.token > first.lease.token
