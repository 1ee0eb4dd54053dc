"""Finds the program haproxy, which Debian puts where the path of an ordinary user may not lead."""

import os
import shutil
from pathlib import Path


def haproxy() -> Path | None:
    """The program; None if this machine has none: preflight says so."""
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    return None if found is None else Path(found)
