"""The refusal of a whole request. Whatever step refuses it raises this; each service makes its own answer of it."""

from collections.abc import Mapping

# After such a wait the reason may be gone, if nothing better is known.
RETRY_AFTER_S = 1


class RefusedError(Exception):
    """Nothing of the request was done. `error` is a sentence for the caller, which says what to do."""

    def __init__(
        self, status: int, error: str, *, retry_after_s: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        found = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        # As RFC 9110 wants it of each 401.
        asked = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        self.headers = {**(headers or {}), **found, **asked}
