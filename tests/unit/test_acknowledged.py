"""What waits for Cassandra, and what no waiting helps."""

from typing import Any

import pytest
from cassandra import InvalidRequest, OperationTimedOut
from cassandra.cluster import NoHostAvailable

from connectors.acknowledged import prepare_however_long


class Session:
    """Prepares after so many errors."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)

    def prepare(self, statement: str) -> str:
        if self._errors:
            raise self._errors.pop(0)
        return f"prepared {statement}"


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: Any = prepare_however_long
    monkeypatch.setattr(waiting.retry, "sleep", lambda _seconds: None)


def test_a_statement_is_prepared_once_cassandra_is_back() -> None:
    session: Any = Session(NoHostAvailable("", {}), OperationTimedOut(), NoHostAvailable("", {}))
    assert str(prepare_however_long(session, "INSERT")) == "prepared INSERT"


def test_a_statement_that_cassandra_does_not_understand_is_an_error() -> None:
    session: Any = Session(InvalidRequest("unknown table"))
    with pytest.raises(InvalidRequest, match="unknown table"):
        prepare_however_long(session, "INSERT")
