"""A session of a Cassandra that is away, or refuses tables, statements or rows, as a test tells it to. No server."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

from cassandra import InvalidRequest, OperationTimedOut
from cassandra.concurrent import ExecutionResult

from connectors import acknowledged
from udfs.sinks import optional_rows

QUERY_ID = bytes(16)


class FakeCassandra:
    """Stands for the driver's session, and for its `execute_concurrent` within `driven`.

    `missing` are tables that are not there; `away`: nothing is answered; `refuses` says of what a statement writes, as
    it was handed over, whether it is refused.
    """

    client_protocol_handler: Any = None

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.away = False
        self.refuses: Callable[[Any], bool] = lambda _row: False
        # Rows that are written, and attempts, by table.
        self.rows: dict[str, list[Any]] = {}
        self.attempts: Counter[str] = Counter()

    def prepare(self, text: str) -> Any:
        table = text.split()[2]
        error = self._error(table)
        if error is not None:
            raise error
        # As much as a BoundStatement asks of one.
        nothing = dict.fromkeys(
            ("routing_key_indexes", "serial_consistency_level", "consistency_level", "custom_payload", "retry_policy")
        )
        return SimpleNamespace(
            query_id=QUERY_ID,
            table=table,
            column_metadata=[],
            fetch_size=0,
            keyspace="ks",
            is_idempotent=True,
            **nothing,
        )

    def execute(self, text: str) -> list[Any]:
        table = text.partition(" FROM ")[2].split(maxsplit=1)[0]
        error = self._error(table)
        if error is not None:
            raise error
        return []

    def execute_concurrent(
        self, _session: object, statements: Sequence[tuple[Any, Any]], **_: object
    ) -> list[ExecutionResult]:
        return [self._executed(statement, values) for statement, values in statements]

    @contextmanager
    def driven(self) -> Iterator[None]:
        """The writers' driver is this one, and nobody sleeps."""
        with (
            mock.patch.object(acknowledged, "execute_concurrent", self.execute_concurrent),
            mock.patch.object(optional_rows, "execute_concurrent", self.execute_concurrent),
            # Not of the whole process, of which other threads sleep.
            mock.patch("tenacity.nap.time", SimpleNamespace(sleep=lambda _seconds: None)),
        ):
            yield

    def _executed(self, statement: Any, values: Any) -> ExecutionResult:
        table, rows = self._rows_of(statement, values)
        self.attempts[table] += 1
        error = self._error(table)
        if error is None and any(map(self.refuses, rows)):
            error = InvalidRequest("Error from server: code=2200 [Invalid query] refused")
        if error is not None:
            return ExecutionResult(False, error)
        self.rows.setdefault(table, []).extend(rows)
        return ExecutionResult(True, None)

    @staticmethod
    def _rows_of(statement: Any, values: Any) -> tuple[str, Sequence[Any]]:
        if hasattr(statement, "table"):
            return statement.table, [values]
        if hasattr(statement, "prepared_statement"):
            return statement.prepared_statement.table, [statement.values]
        return "views_by_minute", [statement._statements_and_parameters]

    def _error(self, table: str) -> Exception | None:
        error: Exception | None = None
        if self.away:
            error = OperationTimedOut()
        elif table in self.missing:
            error = InvalidRequest(f"unconfigured table {table}")
        return error


class FakeTime:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.slept.append(seconds)
        self.on_sleep()
