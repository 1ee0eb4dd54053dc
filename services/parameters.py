"""A parameter of a query that no service understands is refused: a misspelt one must not do what was not meant."""

from collections.abc import Iterable, Mapping

from services.refused import RefusedError

NAME_LENGTH_MAX = 80


class ParameterError(RefusedError):
    """One parameter is bad (422): `field` is its name, `reason` says what it may be.

    The sentence for the caller leaves the value out: a parameter that is not known may hold a secret, and others may
    read what was refused.
    """

    def __init__(self, field: str, value: str, reason: str) -> None:
        super().__init__(422, f"the parameter {field:.{NAME_LENGTH_MAX}} {reason}")
        self.field = field
        self.value = value
        self.reason = reason


def check_known(query: Mapping[str, str], known: Iterable[str]) -> None:
    """Raise ParameterError for the first parameter whose name is not among `known`."""
    names = tuple(known)
    for field, value in query.items():
        if field not in names:
            raise ParameterError(field, value, f"is not known here; the parameters are {', '.join(names)}")
