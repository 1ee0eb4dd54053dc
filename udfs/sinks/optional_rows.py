"""Rows that counts do without: titles, lists. Written like any other, and set aside where Cassandra refuses them.

A row goes alone: what was refused is halved down to it, and it is given up only when a row of the same table has been
accepted after that, so that an outage is not taken for a bad row. Where the table takes nothing at all, though
Cassandra answers otherwise, all of it is left out, and a row now and then tells when it takes rows again
(docs/decisions/0032).
Nothing here waits for longer than that takes to find out. Knows no Flink.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent
from cassandra.query import PreparedStatement

from connectors.acknowledged import FAILURES, is_refusal
from connectors.figures import WriteFigures

log = logging.getLogger(__name__)

Row = TypeVar("Row")
# So long a table is tried that takes nothing; then counting goes on without it.
PATIENCE_S = 10.0
# Between two looks whether it takes anything again.
LOOK_AGAIN_S = 5.0
LOOK_AGAIN_MAX_S = 60.0
# What is not answered may be slow: so often a row is tried of a table that takes others.
TRIES = 5
WAIT_S = 0.2
WAIT_MAX_S = 2.0
_ANSWERS = "SELECT closed_through FROM progress LIMIT 1"


class Write(NamedTuple, Generic[Row]):
    """A statement, its parameters, and the rows that it writes."""

    statement: object
    parameters: object
    rows: Sequence[Row]


class _Pending(NamedTuple, Generic[Row]):
    write: Write[Row]
    tries: int = 0
    # How many writes the table had accepted when this, or what it was cut from, had failed first.
    accepted: int = -1


class OptionalRows(Generic[Row]):
    """One statement. Thread-safe.

    `cut` makes writes of a prepared statement and rows. It is prepared with the first rows, since its table, or a
    column, may not be there.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        text: str,
        cut: Callable[[PreparedStatement, Sequence[Row]], Iterable[Write[Row]]],
        figures: WriteFigures,
        concurrency: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._session = session
        self.name = name
        self._text = text
        self._cut = cut
        self._figures = figures
        self._concurrency = concurrency
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._prepared: PreparedStatement | None = None
        self._accepted = 0
        # While nothing is taken: when to look again, and after how long then.
        self._look_at_s: float | None = None
        self._look_again_s = LOOK_AGAIN_S

    @property
    def is_out(self) -> bool:
        """Whether nothing is taken now."""
        return self._look_at_s is not None

    @property
    def is_due(self) -> bool:
        """Whether the next rows are tried: the table takes rows, or it is time to look whether it does."""
        look_at_s = self._look_at_s
        return look_at_s is None or self._clock() >= look_at_s

    def write(self, rows: Sequence[Row]) -> list[Row]:
        """Write them; those that were not, because the table takes nothing, for whoever can keep them.

        Single rows that it does not take are given up here.
        """
        if not rows:
            return []
        if self.is_out:
            if not self._take_look():
                return list(rows)
            error = self._look(rows[:1])
            if error is not None:
                log.warning("Cassandra still takes nothing for %s: %.300s", self.name, error)
                return list(rows)
            self._set_out(is_out=False)
            log.warning("Cassandra takes %s again", self.name)
            rows = rows[1:]
        return self._write(rows) if rows else []

    def _write(self, rows: Sequence[Row]) -> list[Row]:
        pending: list[_Pending[Row]] | None = None
        witness: Write[Row] | None = None
        most: int | None = None
        failing_since_s: float | None = None
        wait_s = WAIT_S
        while True:
            before = self._accepted
            is_cut = False
            error: Exception | None = None
            try:
                if pending is None:
                    pending = [_Pending(write) for write in self._cut(self._statement(), rows)]
            except FAILURES as failure:
                error = failure
            else:
                # Whether the table takes what it took before tells a bad row from a table that takes nothing.
                now, later = pending[:most], pending[len(pending[:most]) :]
                tried = [one.write for one in now] + ([] if witness is None else [witness])
                outcomes = self._execute(tried)
                witness = next((one for one, failed in zip(tried, outcomes, strict=True) if failed is None), witness)
                error = next((failed for failed in outcomes if failed is not None), None)
                left = self._left(now, outcomes[: len(now)])
                pending = left + later
                if not pending:
                    return []
                failed_now = [one for one, failed in zip(now, outcomes, strict=False) if failed is not None]
                is_cut = _largest(left) < _largest(failed_now)
            has_accepted = self._accepted > before
            # Of a table that takes nothing, one row is as good as all.
            most = None if has_accepted else 1
            if has_accepted or error is None:
                failing_since_s = None
            elif not is_refusal(error) and not self._answers():
                # Cassandra is away, and all waits for it; how long says nothing about the table.
                failing_since_s = None
            else:
                now_s = self._clock()
                failing_since_s = now_s if failing_since_s is None else failing_since_s
                if now_s - failing_since_s >= PATIENCE_S:
                    return self._left_out(rows if pending is None else _rows_of(pending), error)
            if not is_cut:
                self._sleep(wait_s)
                wait_s = min(2 * wait_s, WAIT_MAX_S)

    def _left(self, pending: Iterable[_Pending[Row]], outcomes: Iterable[Exception | None]) -> list[_Pending[Row]]:
        """What of these is still to be tried."""
        left: list[_Pending[Row]] = []
        for (write, tried, accepted_before), error in zip(pending, outcomes, strict=True):
            if error is None:
                continue
            rows, tries = write.rows, tried + 1
            accepted = self._accepted if accepted_before < 0 else accepted_before
            is_theirs = self._accepted > accepted and (is_refusal(error) or tries >= TRIES)
            if len(rows) > 1 and (is_refusal(error) or is_theirs):
                middle = len(rows) // 2
                left += [
                    _Pending(part, accepted=accepted)
                    for half in (rows[:middle], rows[middle:])
                    for part in self._cut(self._statement(), half)
                ]
            elif is_theirs:
                self._figures.note_set_aside(self.name, 1)
                log.error("a row for %s is set aside, %.200r: %.300s", self.name, rows[0], error)
            else:
                left.append(_Pending(write, tries, accepted))
        return left

    def _left_out(self, rows: Sequence[Row], error: Exception) -> list[Row]:
        self._set_out(is_out=True)
        log.error("Cassandra takes nothing for %s, which is left out while counting goes on: %.300s", self.name, error)
        return list(rows)

    def _execute(self, writes: Sequence[Write[Row]]) -> list[Exception | None]:
        """What each of them failed by."""
        results = execute_concurrent(
            self._session,
            [(write.statement, write.parameters) for write in writes],
            concurrency=self._concurrency,
            raise_on_first_error=False,
        )
        errors = [None if result.success else result.result_or_exc for result in results]
        with self._lock:
            self._accepted += errors.count(None)
        for error in errors:
            if error is not None and not isinstance(error, FAILURES):
                raise error
        return errors

    def _statement(self) -> PreparedStatement:
        if self._prepared is None:
            self._prepared = self._session.prepare(self._text)
        return self._prepared

    def _answers(self) -> bool:
        """Whether Cassandra answers about what counts do not do without; otherwise it is away, and all waits."""
        try:
            self._session.execute(_ANSWERS)
        except FAILURES:
            return False
        return True

    def _take_look(self) -> bool:
        """Whether it is time to look, and this thread is the one to."""
        with self._lock:
            now_s = self._clock()
            if self._look_at_s is None or now_s < self._look_at_s:
                return False
            self._look_again_s = min(2 * self._look_again_s, LOOK_AGAIN_MAX_S)
            self._look_at_s = now_s + self._look_again_s
            return True

    def _look(self, rows: Sequence[Row]) -> Exception | None:
        try:
            # The table may be another one now.
            self._prepared = None
            errors = self._execute(list(self._cut(self._statement(), rows)))
        except FAILURES as error:
            return error
        return next((error for error in errors if error is not None), None)

    def _set_out(self, *, is_out: bool) -> None:
        with self._lock:
            self._look_again_s = LOOK_AGAIN_S
            self._look_at_s = self._clock() + LOOK_AGAIN_S if is_out else None
        self._figures.note_out(self.name, is_out=is_out)


def _rows_of(pending: Iterable[_Pending[Row]]) -> list[Row]:
    return [row for one in pending for row in one.write.rows]


def _largest(pending: Iterable[_Pending[Row]]) -> int:
    return max((len(one.write.rows) for one in pending), default=0)
