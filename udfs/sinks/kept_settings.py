"""What the count job was last submitted with, of the settings that its state means something by: a row of a table."""

from typing import Any

from schemas.progress import PIPELINE
from udfs.logic.stream.kept_settings import KeptSettings, SettingsRefusedError, decode

WHAT = "the state of the count job"
_READ = "SELECT settings FROM kept_settings WHERE pipeline = %s"
_WRITE = "INSERT INTO kept_settings (pipeline, settings, written_at) VALUES (%s, %s, toTimestamp(now()))"


def check_submitted(session: Any, kept: KeptSettings) -> list[str] | None:
    """What KeptSettings.check says of the last submission; None where there was none that kept its settings.

    Raises SettingsRefusedError, cassandra.DriverException and cassandra.InvalidRequest.
    """
    row = session.execute(_READ, (PIPELINE,)).one()
    return None if row is None else kept.check(decode(row.settings.encode()), WHAT)


def check_upgrade(session: Any, kept: KeptSettings) -> None:
    """Raise SettingsRefusedError when a job that runs would refuse to go on under these, before it is stopped."""
    if check_submitted(session, kept) is None and not kept.accepts:
        raise SettingsRefusedError("; ".join(kept.unsaid({}, WHAT)))


def keep_submitted(session: Any, kept: KeptSettings) -> None:
    """For the next submission. Raises as check_submitted does."""
    session.execute(_WRITE, (PIPELINE, kept.encode().decode()))
