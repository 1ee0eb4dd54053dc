"""Starlette's request with header fields that are decoded once: for requests that go past Starlette's routing."""

from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope


class _Fields(Headers):
    """Header fields that are decoded once. Starlette looks for each through all of them, and decodes it each time."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        # Of a field that was sent twice, the first one.
        self._first = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(raw)}

    def getlist(self, key: str) -> list[str]:
        found = self._first.get(key.lower())
        if found is None:
            return []
        return [found] if len(self._first) == len(self._list) else super().getlist(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self._first.get(key.lower(), default)

    def __getitem__(self, key: str) -> str:
        return self._first[key.lower()]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower() in self._first


class PlainRequest(Request):
    """Starlette's request with such fields."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self._fields = _Fields(scope["headers"])

    @property
    def headers(self) -> Headers:
        """The header fields."""
        return self._fields
