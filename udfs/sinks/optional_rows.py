"""Writes rows that counting does not need, such as titles and lists. If Cassandra refuses them, they are set aside.

A write that is refused is halved again and again, down to the row that is refused. That row is set aside only when
Cassandra has accepted another row of the same table afterwards, so that an outage is not mistaken for a bad row. If the
table accepts nothing although Cassandra answers, all of its rows are left out, and a row is tried now and then to find
out when the table accepts rows again (docs/decisions/0032). A caller waits only until one of these is certain.
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
# A table that accepts nothing is tried for so long. Then counting goes on without it.
PATIENCE_S = 10.0
# The time until the table is tried again, which doubles each time.
LOOK_AGAIN_S = 5.0
LOOK_AGAIN_MAX_S = 60.0
# A row that gets no answer may be slow. It is tried so often if the table accepts other rows.
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
    # How many writes the table had accepted when this write, or the one it was cut from, first failed.
    accepted: int = -1


class OptionalRows(Generic[Row]):
    """Writes the rows of one statement. Thread-safe.

    `cut` makes writes from a prepared statement and rows. The statement is prepared with the first rows, because its
    table or a column may not exist before.
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
        # While the table accepts nothing: when to try again, and the time after that until the next attempt.
        self._look_at_s: float | None = None
        self._look_again_s = LOOK_AGAIN_S

    @property
    def is_out(self) -> bool:
        """Whether the table accepts nothing now."""
        return self._look_at_s is not None

    @property
    def is_due(self) -> bool:
        """Whether the next rows will be tried: the table accepts rows, or it is time to find out whether it does."""
        look_at_s = self._look_at_s
        return look_at_s is None or self._clock() >= look_at_s

    def write(self, rows: Sequence[Row]) -> list[Row]:
        """Write rows. If the table accepts nothing, return those that were not written, for callers that can keep them.

        Single rows that are refused are set aside here, and not returned.
        """
        if not rows:
            return []
        if self.is_out:
            if not self._take_look():
                return list(rows)
            error = self._look(rows[:1])
            if error is not None:
                log.warning("Cassandra still accepts no rows for %s: %.300s", self.name, error)
                return list(rows)
            self._set_out(is_out=False)
            log.warning("Cassandra accepts rows for %s again", self.name)
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
                # A write that the table has accepted before is repeated. It tells a bad row from a table that accepts
                # nothing.
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
            # While the table accepts nothing, trying one write is enough.
            most = None if has_accepted else 1
            if has_accepted or error is None:
                failing_since_s = None
            elif not is_refusal(error) and not self._answers():
                # Cassandra is away, and everything waits for it. That time says nothing about the table.
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
        """Return the writes that have to be tried again."""
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
        log.error("Cassandra accepts no rows for %s; counting goes on without them: %.300s", self.name, error)
        return list(rows)

    def _execute(self, writes: Sequence[Write[Row]]) -> list[Exception | None]:
        """Execute the writes. Return the error of each, or None."""
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
        """Return whether Cassandra answers a query that counting needs. If not, it is away, and everything waits."""
        try:
            self._session.execute(_ANSWERS)
        except FAILURES:
            return False
        return True

    def _take_look(self) -> bool:
        """Return whether it is time to try the table again. Only one thread gets True."""
        with self._lock:
            now_s = self._clock()
            if self._look_at_s is None or now_s < self._look_at_s:
                return False
            self._look_again_s = min(2 * self._look_again_s, LOOK_AGAIN_MAX_S)
            self._look_at_s = now_s + self._look_again_s
            return True

    def _look(self, rows: Sequence[Row]) -> Exception | None:
        try:
            # The table may have been made again meanwhile.
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
