"""Reads the parameters of an address from its raw bytes, and refuses those that no service understands.

A misspelt parameter must not do what was not meant; nor may one that is given twice, of which a proxy may see the
other, nor bytes that are no text. Knows no HTTP library.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from urllib.parse import unquote_to_bytes

from services.refused import RefusedError

NAME_LENGTH_MAX = 80
VALUE_LENGTH_MAX = 200
# So many bad parameters are named: a short request must not have an answer of a megabyte.
ERRORS_MAX = 16
# Part of the text of a key that is to stay secret; see schemas.access_keys. Also one that was cut off or mistyped.
_SECRET = re.compile(r"vc_(?!pub)[a-z]+_[A-Za-z0-9_]*", re.IGNORECASE)
HIDDEN = "vc_…"


class ParameterError(RefusedError):
    """One parameter is bad (422): `field` is its name, `reason` says what it may be.

    The sentence for the caller leaves the value out: a parameter that is not known may hold a secret, and others may
    read what was refused. What looks like a secret key is shown nowhere.
    """

    def __init__(self, field: str, value: str, reason: str) -> None:
        shown = shortened(field, NAME_LENGTH_MAX)
        super().__init__(422, f"the parameter {shown} {hidden(reason)}")
        self.field = shown
        self.value = shortened(value, VALUE_LENGTH_MAX)
        self.reason = hidden(reason)


class ParametersError(RefusedError):
    """Several parameters are bad (422)."""

    def __init__(self, errors: Sequence[ParameterError]) -> None:
        super().__init__(422, "; ".join(error.error for error in errors))
        self.errors = tuple(errors)


class Query(dict[str, str]):
    """The parameters of a query by name: of those that may be given more than once, the first value.

    `all` returns every value.
    """

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        super().__init__({name: of_name[0] for name, of_name in values.items()})
        self._values = values

    def all(self, name: str) -> Sequence[str]:
        """Every value of this parameter in order; none if it was not given."""
        return self._values.get(name, ())


NOTHING_ASKED = Query({})


def check_known(query: Mapping[str, str], known: Iterable[str]) -> None:
    """Raise ParameterError for the first parameter whose name is not among `known`."""
    names = tuple(known)
    for field, value in query.items():
        if field not in names:
            raise ParameterError(field, value, _unknown(names))


def read_query(query_string: bytes, known: Sequence[str], repeated: Collection[str] = ()) -> Query:
    """The parameters of a query, of which those in `repeated` may be given more than once.

    Raises ParametersError, which names each that is not known, empty, given twice, or no UTF-8.
    """
    if not query_string:
        return NOTHING_ASKED
    found: dict[str, list[str]] = {}
    errors: dict[str, ParameterError] = {}
    for part in query_string.split(b"&"):
        if len(errors) == ERRORS_MAX:
            break
        if not part:
            continue
        of_name, _, of_value = part.replace(b"+", b" ").partition(b"=")
        try:
            name = text(of_name)
        except ParameterError as error:
            errors.setdefault(error.field, error)
            continue
        reason = ""
        value = shown_text(of_value)
        if name not in known:
            reason = _unknown(known)
        elif name in found and name not in repeated:
            reason = "is given more than once; give it once"
        elif not of_value:
            reason = "is empty; give it a value, or leave it out"
        else:
            try:
                found.setdefault(name, []).append(text(of_value))
            except ParameterError as error:
                reason = error.reason
        if reason:
            errors.setdefault(name, ParameterError(name, value, reason))
    if errors:
        raise ParametersError(list(errors.values()))
    return Query(found)


def text(escaped: bytes) -> str:
    """The text that percent-encoded bytes are. Raises ParameterError, which names it, if they are no UTF-8."""
    found = unquote_to_bytes(escaped)
    try:
        return found.decode()
    except UnicodeDecodeError:
        shown = shown_text(escaped)
        raise ParameterError(shown, shown, "must be UTF-8") from None


def shown_text(escaped: bytes) -> str:
    """The same for whoever is told that it is bad: what is no UTF-8 is written by its hex digits."""
    return unquote_to_bytes(escaped).decode(errors="backslashreplace")


def hidden(found: str) -> str:
    """The text without what looks like a secret key."""
    return _SECRET.sub(HIDDEN, found)


def shortened(found: str, length_max: int) -> str:
    """The same, and no longer than that."""
    # Cut off last: of a key that begins before the cut, the rest would no longer look like one.
    found = hidden(found)
    return found if len(found) <= length_max else f"{found[:length_max]}…"


def _unknown(known: Sequence[str]) -> str:
    return f"is not known here; the parameters are {', '.join(known)}" if known else "is not known here; there are none"
