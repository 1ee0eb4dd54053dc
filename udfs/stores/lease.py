"""The lease of history: its holder may write, and finds out at its next step if another process has taken it.

A process may take the lease while another one holds it. From then on, whatever the former holder still does has no
effect (docs/decisions/0030). So waiting for a holder is not needed for correctness, and it has a limit.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec
from cassandra import DriverException
from cassandra.cluster import NoHostAvailable

from udfs.logic.history.manifest import HistoryError
from udfs.logic.history.register import KEPT_MANIFESTS, Applied, Register, check_path, next_token, token_of
from udfs.stores.history_register import Registers

log = logging.getLogger(__name__)
# How long to wait for a holder that is alive, and for one that does not renew its lease.
LIVING_S = 600.0
SILENT_S = 60.0
RENEW_S = 10.0
POLL_S = 1.0


class LeaseLostError(RuntimeError):
    """Another process holds the lease, or its deadline has passed. What this holder has not published is lost."""


class HeldLease(msgspec.Struct, frozen=True):
    """A lease as a holder sends it to its workers: the token, the holder's name, and when its work has to end."""

    token: int
    holder: str
    deadline_ms: int


class Lease:
    """A lease in the holder's process, or in a worker of the holder's job."""

    def __init__(self, registers: Registers, held: HeldLease, now_s: Callable[[], float] = time.time) -> None:
        self._registers = registers
        self._now_s = now_s
        self.held = held

    @property
    def token(self) -> int:
        """The token of this lease."""
        return self.held.token

    def check(self) -> Register:
        """Return the register. Raises LeaseLostError if another process holds the lease, or its deadline has passed."""
        if self._now_s() * 1000 > self.held.deadline_ms:
            raise LeaseLostError(f"{self.held.holder} has passed its deadline: the next holder does what is left")
        register = self._registers.read()
        if register is None or (register.token, register.holder) != (self.held.token, self.held.holder):
            by = "nobody" if register is None else register.holder or "nobody"
            raise LeaseLostError(f"{self.held.holder} no longer holds the lease of history, {by} does")
        return register

    def publish(self, name: str) -> str:
        """Put a stored manifest in force, and return the name of the manifest of this lease that is in force then.

        If another attempt of the same lease has published before, its manifest stays. Raises LeaseLostError.
        """
        register = self.check()
        if token_of(register.manifest) == self.held.token:
            return register.manifest
        kept = (*register.all_kept,)[-KEPT_MANIFESTS:]
        new = msgspec.structs.replace(register, manifest=name, kept=kept)
        if self._registers.swap(register, new):
            return name
        there = self.check()
        if token_of(there.manifest) != self.held.token:
            raise LeaseLostError(f"{self.held.holder} could not publish {name}: {there.manifest} is in force")
        return there.manifest

    def apply(self, applied: Applied) -> None:
        """Write to the register what the tables have now. Raises LeaseLostError."""
        register = self.check()
        if not self._registers.swap(register, msgspec.structs.replace(register, applied=applied)):
            raise LeaseLostError(f"{self.held.holder} could not say that the rows of {applied.manifest} are written")


class LeaseHolder:
    """A context manager that takes the lease, renews it every few seconds, and gives it up at the end.

    `kind` says who holds it, for people who read it. Raises HistoryError unless the register exists and is that of
    `path`, and LeaseLostError if others are always faster.
    """

    def __init__(
        self,
        registers: Registers,
        path: str,
        kind: str,
        *,
        deadline_s: float,
        now_s: Callable[[], float] = time.time,
        living_s: float = LIVING_S,
        silent_s: float = SILENT_S,
        sleep: Callable[[float], None] = time.sleep,
        say: Callable[[str], None] = log.warning,
    ) -> None:
        self._registers = registers
        self._path = path
        self._kind = kind
        self._deadline_s = deadline_s
        self._now_s = now_s
        self._living_s = living_s
        self._silent_s = silent_s
        self._sleep = sleep
        self._say = say
        self._left = threading.Event()

    def __enter__(self) -> Self:
        self.register = self._take()
        deadline_ms = int((self._now_s() + self._deadline_s) * 1000)
        self.lease = Lease(
            self._registers, HeldLease(self.register.token, self.register.holder, deadline_ms), self._now_s
        )
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewing.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._left.set()
        self._renewing.join()
        try:
            register = self._registers.read()
            if register is not None and (register.token, register.holder) == (
                self.lease.token, self.lease.held.holder,
            ):  # fmt: skip
                self._registers.swap(register, msgspec.structs.replace(register, holder=""))
        except (DriverException, NoHostAvailable) as failure:
            # The next one waits a minute before it takes the lease.
            log.warning("the lease of history was not given up: %s", failure)

    def _take(self) -> Register:
        # The name is random, so that after a lost answer it shows whether this process has the lease.
        holder = f"{self._kind} {secrets.token_hex(4)}"
        waited_s = silent_s = 0.0
        pulse, has_said = self._registers.pulse(), False
        while True:
            register = checked(self._registers.read(), self._path)
            if not register.holder or waited_s >= self._living_s or silent_s >= self._silent_s:
                token = next_token(register.token, int(self._now_s() * 1_000_000))
                new = msgspec.structs.replace(register, token=token, holder=holder)
                if self._registers.swap(register, new):
                    return new
                waited_s += POLL_S
                if waited_s >= 2 * self._living_s:
                    raise LeaseLostError(f"{holder} did not get the lease of history, others were always faster")
            elif not has_said:
                has_said = True
                self._say(f"waits for {register.holder}, which holds the lease of history")
            self._sleep(POLL_S)
            waited_s += POLL_S
            newer = self._registers.pulse()
            silent_s = 0.0 if newer != pulse else silent_s + POLL_S
            pulse = newer

    def _renew(self) -> None:
        while not self._left.wait(RENEW_S):
            try:
                if not self._registers.renew(self.register):
                    return
            except (DriverException, NoHostAvailable) as error:
                log.warning("the lease of history of %s could not be renewed: %s", self.lease.held.holder, error)


def checked(register: Register | None, path: str) -> Register:
    """Return the register. Raises HistoryError if there is none, or if it is of another path."""
    if register is None:
        raise HistoryError(
            "this keyspace has no register of history: `python -m tools.ops history init` makes it, once, and "
            "`python -m tools.ops history restore` makes it again if it was lost"
        )
    check_path(register, path)
    return register
