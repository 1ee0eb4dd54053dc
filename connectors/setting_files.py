"""Reads files that settings name and the product checks. Secrets and certificates are for connectors.secret_files."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def read_decoded(setting: str, path: Path, decode: Callable[[bytes], T], error: type[Exception], remedy: str = "") -> T:
    """What `decode` makes of the content of a file. `setting` is for errors, as GROUP.FIELD.

    Raises `error`, which `decode` raises too, with the setting and the path before its text.
    """
    try:
        content = path.read_bytes()
    except OSError as found:
        raise error(f"{setting}={path} cannot be read: {found.strerror}{remedy}") from found
    try:
        return decode(content)
    except error as found:
        raise error(f"{setting}={path}: {found}") from found
