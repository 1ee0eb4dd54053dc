"""The register of history: who may write, which manifest is in force, and what the tables have.

docs/decisions/0030 describes the protocol. A model beside it shows why each rule is needed.
"""

from datetime import datetime

import msgspec

from udfs.logic.history.manifest import HistoryError, hour_start

# The distance of two tokens, in µs.
TOKEN_STEP_US = 1000
# The first token, and the one of a restore, are so much higher than all tokens before.
ABOVE_US = 3_600_000_000
# So many manifests are kept beside the one in force.
KEPT_MANIFESTS = 3


class Applied(msgspec.Struct, frozen=True):
    """The state of the tables: they have all rows of a manifest, whose name is "" before the first.

    In the tables, hours viewed from `from_hour` to `through_hour - 1` are complete, and events that arrived before
    `late_through_hour` are counted, late ones as well. `gap_hours` are the hours viewed for which the archive may lack
    records, as (first, last) of each run of hours. `missing` has the number of missing records by partition,
    `missing_hours` by hour of arrival. `revision` is the token of the rollup or the repair that wrote to the tables
    last. `warnings` are sentences for operators. `imports` is the number of imports whose rows the tables have, and
    `has_kinds` says whether they list the kinds of videos.
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
    imports: int = 0
    has_kinds: bool = False

    @property
    def complete_through(self) -> datetime:
        """The end of the last hour viewed that is complete."""
        return hour_start(self.through_hour)

    @property
    def late_through(self) -> datetime:
        """The time up to which events have arrived that are all counted in the tables, late ones as well."""
        return hour_start(self.late_through_hour)


class Register(msgspec.Struct, frozen=True):
    """The register's row without the column `renewed_at`.

    `token` is the column `lease`, and `made_ms` the column `made_at` in ms since 1970. `holder` and `manifest` are
    empty where there is none. `kept` begins with the oldest manifest.
    """

    path: str
    made_ms: int
    token: int
    holder: str
    manifest: str
    kept: tuple[str, ...]
    applied: Applied | None

    @property
    def all_kept(self) -> tuple[str, ...]:
        """The names of all manifests that must exist. The one in force is last."""
        return (*self.kept, self.manifest) if self.manifest else self.kept


def nothing_applied() -> Applied:
    """Return the state of empty tables."""
    # Where nothing is counted, the lists of kinds are whole.
    return Applied("", 0, 0, 0, 0, has_kinds=True)


def next_token(last: int, now_us: int) -> int:
    """Return the token of the next holder."""
    return max(last + TOKEN_STEP_US, now_us)


def runs(hours: list[int]) -> list[tuple[int, int]]:
    """Return (first, last) of each run of consecutive hours. The hours must be sorted."""
    found: list[tuple[int, int]] = []
    for hour in hours:
        if found and found[-1][1] == hour - 1:
            found[-1] = (found[-1][0], hour)
        else:
            found.append((hour, hour))
    return found


def manifest_name(token: int, attempt: str) -> str:
    """Return the path, below history's root, of the manifest that a holder's attempt publishes."""
    return f"manifests/{token:020}-{attempt}.json"


def token_of(name: str) -> int:
    """Return the token in the name of a manifest, or 0 if the name is empty."""
    return int(name.removeprefix("manifests/").split("-")[0]) if name else 0


def check_path(register: Register, path: str) -> None:
    """Raise HistoryError unless the register's history is at this path. Each keyspace belongs to one path."""
    if register.path != path:
        raise HistoryError(
            f"history.path={path}, and this keyspace's history is at {register.path}: set VIEW_COUNTS_HISTORY_PATH to "
            f"{register.path}, or use the keyspace that belongs to this path"
        )
