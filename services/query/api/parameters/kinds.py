"""Which kinds of events are asked for: one, several, or all that a video has."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.kinds import DEFAULT_KIND
from services.parameters import ParameterError
from services.query.api.parameters.names import ALL_KINDS, KIND_BYTES_MAX, check_name

# As many as the rollup lists of a video.
KINDS_MAX = 32


@dataclass(frozen=True)
class KindsAsked:
    """The kinds that are asked for, in the order of the answer; none if those are asked for that a video has."""

    names: tuple[str, ...]

    @property
    def is_all(self) -> bool:
        """Whether the kinds that a video has are asked for."""
        return not self.names

    @property
    def is_one(self) -> bool:
        """Whether a single kind is named. The answer has the form that it had before there were more."""
        return len(self.names) == 1


def read_kinds(values: Sequence[str]) -> KindsAsked:
    """The kinds that these values of `kind` ask for. Raises ParameterError."""
    if not values:
        return KindsAsked((DEFAULT_KIND,))
    if ALL_KINDS in values:
        if len(values) > 1:
            raise ParameterError(f"kind[{list(values).index(ALL_KINDS)}]", ALL_KINDS, "is all kinds; give it alone")
        return KindsAsked(())
    if len(values) > KINDS_MAX:
        raise ParameterError("kind", values[KINDS_MAX], f"is given {len(values)} times, more than {KINDS_MAX}")
    for place, name in enumerate(values):
        field = "kind" if len(values) == 1 else f"kind[{place}]"
        check_name(field, name, KIND_BYTES_MAX)
        if name in values[:place]:
            raise ParameterError(field, name, "was given before; give each kind once")
    return KindsAsked(tuple(values))
