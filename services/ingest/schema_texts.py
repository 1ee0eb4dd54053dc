"""The Avro schemas that clients may ask for: the texts of the schema registry's files."""

from functools import cache

from schemas.registry import FOLDER, by_prefix, newest


@cache
def schema_names() -> list[str]:
    """The names of all versions, such as ViewEvent.v1, in order."""
    return sorted(f"{name}.v{version}" for name, version in by_prefix().values())


@cache
def _texts() -> dict[str, str]:
    texts = {name: (FOLDER / f"{name}.avsc").read_text() for name in schema_names()}
    newest_ones = {name: f"{name}.v{newest(name)}" for name, _ in by_prefix().values()}
    return texts | {name: texts[version] for name, version in newest_ones.items()}


def schema_text(name: str) -> str | None:
    """The schema in JSON; None if there is none of this name. A name without a version is its newest one."""
    return _texts().get(name)
