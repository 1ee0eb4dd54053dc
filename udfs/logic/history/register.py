"""The register of history: who may write, which manifest is in force, and what the tables have. Pure.

The protocol is docs/decisions/0030; a model of it, with the ways in which each rule is needed, stands beside it.
"""

from datetime import datetime

import msgspec

from udfs.logic.history.manifest import HistoryError, hour_start

# Between two tokens, in µs.
TOKEN_STEP_US = 1000
# A first token, and that of a restore, lies so far above all that was there before.
ABOVE_US = 3_600_000_000
# Manifests that are kept beside the one in force.
KEPT_MANIFESTS = 3


class Applied(msgspec.Struct, frozen=True):
    """What the tables have: all rows of a manifest, whose name is "" before the first.

    Hours viewed from `from_hour` to before `through_hour` are complete in them. Events that arrived before
    `late_through_hour` are in them, late ones as well. `gap_hours` are the hours viewed of which the archive lacks
    records: (first, last) of each run of them. `missing` are by partition the records that it lacks, `missing_hours`
    the same by hour of arrival. `revision` is the token of whoever wrote to these tables last, a rollup or a repair.
    `warnings` are sentences for operators.
    """

    manifest: str
    revision: int
    from_hour: int
    through_hour: int
    late_through_hour: int
    gap_hours: list[tuple[int, int]] = []
    missing: dict[int, int] = {}
    warnings: list[str] = []
    missing_hours: dict[int, int] = {}

    @property
    def complete_through(self) -> datetime:
        """The end of the last hour viewed that is complete."""
        return hour_start(self.through_hour)

    @property
    def late_through(self) -> datetime:
        """Events that arrived before this time are in the tables, late ones as well."""
        return hour_start(self.late_through_hour)


class Register(msgspec.Struct, frozen=True):
    """The register's row. `made_ms` since 1970; `kept` from the oldest to the newest; else as the table says."""

    path: str
    made_ms: int
    token: int
    holder: str
    manifest: str
    kept: tuple[str, ...]
    applied: Applied | None

    @property
    def all_kept(self) -> tuple[str, ...]:
        """The names of all manifests that must be there, the one in force last."""
        return (*self.kept, self.manifest) if self.manifest else self.kept


def nothing_applied() -> Applied:
    """What the tables of a new pair have."""
    return Applied("", 0, 0, 0, 0)


def next_token(last: int, now_us: int) -> int:
    """The token of the next holder."""
    return max(last + TOKEN_STEP_US, now_us)


def runs(hours: list[int]) -> list[tuple[int, int]]:
    """(first, last) of each run of consecutive hours; they come in order."""
    found: list[tuple[int, int]] = []
    for hour in hours:
        if found and found[-1][1] == hour - 1:
            found[-1] = (found[-1][0], hour)
        else:
            found.append((hour, hour))
    return found


def manifest_name(token: int, attempt: str) -> str:
    """The path below history's root of the manifest that an attempt of a lease publishes."""
    return f"manifests/{token:020}-{attempt}.json"


def token_of(name: str) -> int:
    """The token in the name of a manifest; 0 of none."""
    return int(name.removeprefix("manifests/").split("-")[0]) if name else 0


def check_path(register: Register, path: str) -> None:
    """Raise HistoryError unless the register's history is at this path: keyspace and path are a pair."""
    if register.path != path:
        raise HistoryError(
            f"history.path={path}, and this keyspace's history is at {register.path}: set VIEW_COUNTS_HISTORY_PATH to "
            "that, or use the keyspace that belongs to this path"
        )
