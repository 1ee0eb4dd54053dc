"""Files that their owner alone may read, whatever the terminal's umask is."""

import contextlib
import os
from collections.abc import Iterator

UMASK = 0o077


@contextlib.contextmanager
def for_owner_alone() -> Iterator[None]:
    """What this process creates meanwhile is for its owner alone. The umask is that of all threads."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)
