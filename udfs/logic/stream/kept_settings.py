"""Compares the settings that state or history was made by with those that it is to be carried on by. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from settings import Settings
from settings.kept import OF_HISTORY, OF_STATE, Change, Value, values_of, variable

ACCEPT = "--accept-settings"


class SettingsRefusedError(ValueError):
    """What is there was made by other settings; the text names each, both values and what to do."""


@dataclass(frozen=True)
class KeptSettings:
    """The settings that are to be, and how each may change. `accepts`: somebody has looked at what is asked for."""

    values: Mapping[str, Value]
    changes: Mapping[str, Change]
    accepts: bool = False

    def encode(self) -> bytes:
        """By name, in JSON."""
        return msgspec.json.encode(dict(self.values))

    def check(self, of: Mapping[str, Value], what: str) -> list[str]:
        """A line for each that `what`, which was made by those, is carried on under another of.

        And for each of which it does not say by which it was made. Raises SettingsRefusedError.
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
        """A sentence with all that `what` does not say by which it was made; or none."""
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
    """Those that the count job's state means something by."""
    return KeptSettings(values_of(settings, OF_STATE), OF_STATE, accepts)


def of_history(settings: Settings, *, accepts: bool = False) -> KeptSettings:
    """Those that history means something by."""
    return KeptSettings(values_of(settings, OF_HISTORY), OF_HISTORY, accepts)


def decode(stored: bytes) -> dict[str, Value]:
    """What `encode` gave."""
    return msgspec.json.decode(stored, type=dict[str, Value])
