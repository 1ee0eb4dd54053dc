"""The refusal of a whole request. Whatever step refuses it raises this; services.ingest.intake makes the answer."""

from collections.abc import Mapping


class RefusedError(Exception):
    """No event of the request was taken. `error` is a sentence for the caller, which says what to do."""

    def __init__(
        self, status: int, error: str, *, retry_after_s: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.retry_after_s = retry_after_s
        self.headers = headers or {}
