"""Reads and changes the file of keys. What it says is schemas.access_keys."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from connectors.setting_files import read_decoded
from schemas.access_keys import Key, KeyFileError, decode, encode

MODE = 0o600


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys. Raises KeyFileError if the file is not there, cannot be read, or has an entry that is refused."""
    return read_decoded("access.keys_file", path, decode, KeyFileError, "; `keys add` makes it")


def change_keys(path: Path, change: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> tuple[Key, ...]:
    """Replace the file by what `change` makes of it, as a whole and for its owner alone. Returns the new keys.

    Two changes at one time follow each other. A file that is not there counts as empty. Raises KeyFileError.
    """
    with _locked(path):
        keys = change(read_keys(path) if path.exists() else ())
        content = encode(keys)
        # What a service would refuse is not written.
        decode(content)
        _replace(path, content)
    return keys


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR, MODE)
    except OSError as error:
        raise KeyFileError(
            f"access.keys_file={path} cannot be changed: {error.strerror}; change it where it comes from"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _replace(path: Path, content: bytes) -> None:
    """Write beside the file and rename, so that no reader finds half of it. mkstemp gives it the mode 0600."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
