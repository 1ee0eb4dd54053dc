"""Stores, in a row of a table, the settings of the count job's last submission that its state depends on."""

from typing import Any

from schemas.progress import PIPELINE
from udfs.logic.stream.kept_settings import KeptSettings, SettingsRefusedError, decode

WHAT = "the state of the count job"
_READ = "SELECT settings FROM kept_settings WHERE pipeline = %s"
_WRITE = "INSERT INTO kept_settings (pipeline, settings, written_at) VALUES (%s, %s, toTimestamp(now()))"


def check_submitted(session: Any, kept: KeptSettings) -> list[str] | None:
    """Compare with the last submission, and return the lines of KeptSettings.check. None if no settings were stored.

    Raises SettingsRefusedError, cassandra.DriverException and cassandra.InvalidRequest.
    """
    row = session.execute(_READ, (PIPELINE,)).one()
    return None if row is None else kept.check(decode(row.settings.encode()), WHAT)


def check_upgrade(session: Any, kept: KeptSettings) -> None:
    """Raise SettingsRefusedError if the running job, once stopped, could not be started again with these settings."""
    if check_submitted(session, kept) is None and not kept.accepts:
        raise SettingsRefusedError("; ".join(kept.unsaid({}, WHAT)))


def keep_submitted(session: Any, kept: KeptSettings) -> None:
    """Store the settings, for the next submission. Raises what check_submitted raises."""
    session.execute(_WRITE, (PIPELINE, kept.encode().decode()))
