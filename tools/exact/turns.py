"""Lets load and kills take turns, so that every kill and every recovery happens while there is load.

With k kills the load has k + 2 equal stages. The n-th kill comes when stage n is sent. The load then continues, and
waits at the end of the next stage until the killed part has recovered.
"""

import threading


class AbortedError(RuntimeError):
    """The other side has failed."""


class Turns:
    """The state that the sending thread and the killing thread share. Thread-safe."""

    def __init__(self, events: int, kills: int) -> None:
        self._events = events
        self._stages = kills + 2
        self._sent = 0
        self._recovered = 0
        self._kills = kills
        self._aborted = False
        self._changed = threading.Condition()

    def sent(self, events: int) -> None:
        """Say how many events the load has sent in total."""
        with self._changed:
            self._sent = events
            self._changed.notify_all()

    def may_send(self) -> bool:
        """Whether the load may send more now. Raises AbortedError."""
        with self._changed:
            if self._aborted:
                raise AbortedError("stopped, because a kill or a recovery failed")
            return self._recovered == self._kills or self._sent < self._stage_end(self._recovered + 1)

    def wait_to_kill(self, number: int, timeout_s: float) -> int:
        """Wait until kill `number` (from 0) is due. Returns the events sent so far.

        Raises AbortedError and TimeoutError.
        """
        with self._changed:
            due = self._changed.wait_for(lambda: self._aborted or self._sent >= self._stage_end(number), timeout_s)
            if self._aborted:
                raise AbortedError("stopped, because the load failed")
            if not due:
                raise TimeoutError(f"the load has sent only {self._sent} of {self._events} events in {timeout_s:.0f} s")
            return self._sent

    def recovered(self) -> None:
        """Say that the part that was killed last has recovered."""
        with self._changed:
            self._recovered += 1
            self._changed.notify_all()

    def abort(self) -> None:
        """Let the other side end, because this side has failed."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    def _stage_end(self, stage: int) -> int:
        return self._events * (stage + 1) // self._stages
