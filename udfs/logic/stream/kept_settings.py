"""Compares the settings with which state or history was made with those with which it is continued."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from settings import Settings
from settings.kept import OF_HISTORY, OF_STATE, Change, Value, values_of, variable

ACCEPT = "--accept-settings"


class SettingsRefusedError(ValueError):
    """State or history was made with other settings. The text names each setting, both values and what to do."""


@dataclass(frozen=True)
class KeptSettings:
    """The settings that the program runs with, and how each may change.

    `accepts` says that an operator has given --accept-settings.
    """

    values: Mapping[str, Value]
    changes: Mapping[str, Change]
    accepts: bool = False

    def encode(self) -> bytes:
        """Return the settings by name, in JSON."""
        return msgspec.json.encode(dict(self.values))

    def check(self, of: Mapping[str, Value], what: str) -> list[str]:
        """Compare the settings `of` which `what` was made with these, and return a line for each that differs.

        There is also a line for each setting that `of` does not name. Raises SettingsRefusedError if a setting must not
        change, or not without being accepted.
        """
        refused, lines = [], []
        for name, now in self.values.items():
            if name not in of:
                lines.append(f"{what} does not say by which {name} it was made, and goes on under {now}")
            elif (before := of[name]) != now:
                lines.append(f"{what} was made by {name}={before}, and goes on under {now}")
                refused += self._refused(name, before, now, what)
        if not self.accepts:
            refused += self.unsaid(of, what)
        if refused:
            raise SettingsRefusedError("; ".join(refused))
        return lines

    def unsaid(self, of: Mapping[str, Value], what: str) -> list[str]:
        """Return a sentence that names the settings that `of` does not name, or nothing."""
        found = [f"{variable(name)}={now}" for name, now in self.values.items() if name not in of]
        if not found:
            return []
        asks = f"if it was, give {ACCEPT} once, or else set what it was made by"
        return [f"{what} does not say that it was made by {', '.join(found)}: {asks}"]

    def _refused(self, name: str, before: Value, now: Value, what: str) -> list[str]:
        change = self.changes[name]
        made = f"{what} was made by {name}={before}, and the settings say {now}"
        back = f"set {variable(name)}={before}"
        if change is Change.ASKED:
            return [] if self.accepts else [f"{made}: {back}, or give {ACCEPT} once if it is to change"]
        if change is Change.MAY_FALL:
            falls = isinstance(now, int) and isinstance(before, int) and now < before
            return (
                [] if falls else [f"{made}, which may only fall: {back}, or count again from the archive or the topic"]
            )
        return [f"{made}, which is fixed: {back}, or count again from the archive or the topic"]


def of_state(settings: Settings, *, accepts: bool = False) -> KeptSettings:
    """Return the settings that the count job's state depends on."""
    return KeptSettings(values_of(settings, OF_STATE), OF_STATE, accepts)


def of_history(settings: Settings, *, accepts: bool = False) -> KeptSettings:
    """Return the settings that history depends on."""
    return KeptSettings(values_of(settings, OF_HISTORY), OF_HISTORY, accepts)


def decode(stored: bytes) -> dict[str, Value]:
    """Decode what `encode` returned."""
    return msgspec.json.decode(stored, type=dict[str, Value])
