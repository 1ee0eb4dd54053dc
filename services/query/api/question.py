"""One question as it was asked: its parameters as text, read from the raw bytes of the address."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from services.access.caller import Caller
from services.openapi import Operation
from services.parameters import ParameterError, Query, read_query
from services.query.api.budget import Purse, cost_of
from services.query.counts.spans import Span

_NAME = re.compile(r"\{(\w+)\}")


class Question:
    """What an endpoint is asked.

    `path_params` are the names in the path and `query_params` the parameters of the query. `body` is what was sent to
    an operation that has bodies. `caller` asks, and may name what the address names. An endpoint sets `span` to the
    times that its answer is about, once they are known; None stands for all times. It sets `until_s` to the time of the
    monotonic clock until which the same question may have the same answer, if there is such a time.
    """

    __slots__ = ("_purse", "body", "caller", "path_params", "query_params", "span", "until_s")

    def __init__(self, caller: Caller, path_params: Mapping[str, str], query_params: Query) -> None:
        self.caller = caller
        self.path_params = path_params
        self.query_params = query_params
        self.body = b""
        self.span: Span | None = None
        self.until_s: float | None = None
        self._purse: Purse | None = None

    def give(self, purse: Purse) -> None:
        """Say from what the question is paid."""
        self._purse = purse

    async def pay(self, *, partitions: int = 0, files: int = 0, points: int = 0) -> None:
        """Pay for reading so much, before it is read.

        Raises RefusedError (429, 503) if the caller may not have so much now, or the process has too much to do.
        """
        if self._purse is not None:
            await self._purse.pay(cost_of(partitions=partitions, files=files, points=points))


class QuestionForm:
    """How the questions of one operation are written. `more` are names that its query may have besides."""

    def __init__(self, operation: Operation[Any], more: Sequence[str] = ()) -> None:
        self._names = (*operation.query_names, *more)
        self._repeated = frozenset(one.name for one in operation.parameters if one.is_repeated)
        self._path_names = _NAME.findall(operation.path)
        literals = _NAME.split(operation.path)[::2]
        # A name may have slashes and line breaks.
        self._path = re.compile(b"(.*)".join(re.escape(one.encode()) for one in literals), re.DOTALL)

    def read(self, caller: Caller, raw_path: bytes, query_string: bytes) -> Question:
        """The question of this path and query, neither of them decoded. Raises ParameterError and ParametersError."""
        return Question(caller, self._of_path(raw_path), read_query(query_string, self._names, self._repeated))

    def _of_path(self, raw_path: bytes) -> dict[str, str]:
        if not self._path_names:
            return {}
        found = self._path.fullmatch(unquote_to_bytes(raw_path))
        if found is None:
            raise AssertionError(f"{raw_path!r} is no path of this operation")
        return {name: _name(name, value) for name, value in zip(self._path_names, found.groups(), strict=True)}


def _name(field: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ParameterError(field, value.decode(errors="backslashreplace"), "must be UTF-8") from None
