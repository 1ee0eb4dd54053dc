"""What is answered in place of an answer."""

from msgspec import Struct


class BadParameter(Struct, frozen=True):
    """A parameter that cannot be used, and what it may be."""

    field: str
    value: str
    reason: str


class BadParameters(Struct, frozen=True):
    """The parameters that cannot be used."""

    errors: list[BadParameter]


class Away(Struct, frozen=True):
    """What cannot be read now, and why."""

    error: str
