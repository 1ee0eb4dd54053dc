"""A value beside the state of each key that says with which settings the state was made."""

import logging

from pyflink.common import Types
from pyflink.datastream import RuntimeContext
from pyflink.datastream.state import ValueStateDescriptor

from settings import CountingSettings
from settings.kept import variable
from udfs.logic.stream.kept_settings import KeptSettings, decode

log = logging.getLogger(__name__)


def foreign_key(part: str, name: str, number: int, rules: CountingSettings) -> str:
    """Return the error text for state under a key that does not occur with these settings."""
    return (
        f"the state of {part} has a key that neither of counting.{name}={number} and counting.max_parallelism="
        f"{rules.max_parallelism} makes: it was made by others, which are fixed: set {variable(f'counting.{name}')} "
        f"and {variable('counting.max_parallelism')} back, or count again from the archive or the topic"
    )


class StateSettings:
    """Checks the settings of state. Call `check` once for each key, when its state is first used after a start."""

    def __init__(self, runtime_context: RuntimeContext, kept: KeptSettings, what: str) -> None:
        self._state = runtime_context.get_state(ValueStateDescriptor("settings", Types.PRIMITIVE_ARRAY(Types.BYTE())))
        self._kept = kept
        self._encoded = kept.encode()
        self._what = what
        self._logged: set[str] = set()

    def check(self, *, is_new: bool) -> None:
        """Check the current key, and write the settings beside its state. Raises SettingsRefusedError.

        `is_new` says that nothing is stored for this key yet.
        """
        stored = self._state.value()
        if stored is not None and bytes(stored) == self._encoded:
            return
        if not is_new:
            found = self._kept.check({} if stored is None else decode(bytes(stored)), self._what)
            # Log each line once, not for each key.
            for line in sorted({*found} - self._logged):
                log.warning("%s", line)
            self._logged.update(found)
        self._state.update(self._encoded)
