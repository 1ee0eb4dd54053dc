"""The Avro schemas that clients may ask for: the texts of the schema registry's files."""

from functools import cache

from schemas.registry import by_prefix, newest, text


@cache
def schema_names() -> list[str]:
    """The names of all versions, such as ViewEvent.v1, in order."""
    return sorted(f"{name}.v{version}" for name, version in by_prefix().values())


@cache
def _texts() -> dict[str, str]:
    found = by_prefix().values()
    return {f"{name}.v{version}": text(name, version) for name, version in found} | {
        name: text(name, newest(name)) for name, _ in found
    }


def schema_text(name: str) -> str | None:
    """The schema in JSON; None if there is none of this name. A name without a version is its newest one."""
    return _texts().get(name)
