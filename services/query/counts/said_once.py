"""Says why something that is done again and again fails: once for each reason, until it succeeds."""

from typing import Any


class SaidOnce:
    """What was said of one thing. `log` is a logger of structlog."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._reason: str | None = None

    def failed(self, text: str, error: Exception, **fields: str) -> None:
        """It has failed: log a warning with this text, unless that was for the same reason the last time."""
        reason = f"{type(error).__name__}: {error}"
        if reason != self._reason:
            self._log.warning(text, reason=reason, **fields)
        self._reason = reason

    def succeeded(self) -> None:
        """It has succeeded."""
        self._reason = None
