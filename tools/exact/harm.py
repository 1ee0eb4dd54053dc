"""Kills parts with -9, one after the other, and waits after each until the job counts again."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from cassandra import DriverException, OperationTimedOut, RequestExecutionException
from cassandra.cluster import NoHostAvailable
from kafka.errors import KafkaError

from tools.exact.turns import Turns
from tools.recount import Store, end_offsets
from tools.stack import PartError, Stack

PYTHON_WORKER = "python-worker"
PARTS = ("taskmanager", PYTHON_WORKER, "jobmanager", "kafka", "cassandra", "seaweedfs", "ingest", "haproxy")
POLL_S = 0.5
RECOVERY_TIMEOUT_S = 420.0
DUE_TIMEOUT_S = 1800.0
AWAY = (NoHostAvailable, DriverException, OperationTimedOut, RequestExecutionException, KafkaError)


class NotRecoveredError(RuntimeError):
    """The job did not count again in time after a kill."""


@dataclass(frozen=True)
class Kill:
    """One kill: of which part, after how many events, and how long it took until everything written was counted."""

    part: str
    process_id: int
    events_sent: int
    recovered_after_s: float


class Harm:
    """Kills parts of one stack with one job."""

    def __init__(self, stack: Stack, store: Store, job: str, topic: str) -> None:
        self._stack = stack
        self._store = store
        self._job = job
        self._topic = topic

    def all(self, parts: tuple[str, ...], turns: Turns, say: Callable[[str], None]) -> list[Kill]:
        """Kill each part in its turn. Raises NotRecoveredError, PartError, and what Turns raises."""
        kills = []
        for number, part in enumerate(parts):
            sent = turns.wait_to_kill(number, DUE_TIMEOUT_S)
            started_at = time.monotonic()
            process_id = self._kill(part)
            say(f"kill -9 {process_id} ({part}) after {sent} events")
            if part != PYTHON_WORKER:
                self._stack.wait_ready(part, timeout_s=RECOVERY_TIMEOUT_S)
            self.wait_counted(part)
            kills.append(Kill(part, process_id, sent, round(time.monotonic() - started_at, 1)))
            say(f"{part} is back and everything written is counted after {kills[-1].recovered_after_s} s")
            turns.recovered()
        return kills

    def wait_counted(self, after: str, timeout_s: float = RECOVERY_TIMEOUT_S) -> None:
        """Wait until the job runs and its ledger has every record that the topic has now. Raises NotRecoveredError."""
        deadline = time.monotonic() + timeout_s
        end = None
        seen: object = None
        while True:
            try:
                end = end if end is not None else self.topic_records()
                seen = self._store.records()
                if self.is_running() and seen >= end:
                    return
            except AWAY as error:
                seen = f"{type(error).__name__}: {error}"
            if time.monotonic() > deadline:
                states = self._stack.flink_rest(f"/jobs/{self._job}/exceptions?maxExceptions=2")
                raise NotRecoveredError(
                    f"{timeout_s:.0f} s after {after}, the ledger holds {seen} of {end} records; running: "
                    f"{self.is_running()}; Flink says {str(states)[:3000]}"
                )
            time.sleep(POLL_S)

    def topic_records(self) -> int:
        """How many records the events topic has."""
        return sum(end_offsets(self._stack.endpoints["kafka"], self._topic).values())

    def is_running(self) -> bool:
        """Whether every task of the job runs."""
        answer = self._stack.flink_rest(f"/jobs/{self._job}") or {"vertices": []}
        return bool(answer["vertices"]) and all(vertex["status"] == "RUNNING" for vertex in answer["vertices"])

    def _kill(self, part: str) -> int:
        if part != PYTHON_WORKER:
            return self._stack.kill(part)
        deadline = time.monotonic() + RECOVERY_TIMEOUT_S
        while True:
            try:
                return self._stack.kill_python_worker()
            except (PartError, ProcessLookupError):
                # There may be no worker while the job restarts.
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)
