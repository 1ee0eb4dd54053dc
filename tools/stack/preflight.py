"""What must be true before anything starts: one clear line for each thing that is not.

Checks only; repairs nothing. The tools that the set-up installs itself are checked again here, since the
stack is also started from tests and after a machine has changed.
"""

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from tools.stack.java import VERSION, java_home
from tools.stack.layout import Layout
from tools.stack.parts import Part
from tools.stack.ports import environment_variable, is_busy

GIB = 1024**3
DISK_FREE_BYTES_MIN = 5 * GIB
MEMORY_FREE_BYTES_MIN = 6 * GIB
PYTHON = (3, 11)
SET_UP = "run `make setup`"


class PreflightError(RuntimeError):
    """The machine or the clone is not ready; one line for each finding."""

    def __init__(self, findings: Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(self.findings))


def check(layout: Layout, parts: Iterable[Part], ports: Mapping[str, int]) -> None:
    """Raise PreflightError unless everything that `parts` need is there and free."""
    parts = tuple(parts)
    findings = [
        *_tools(layout),
        *_room(layout.home),
        *(
            f"port {ports[name]} ({name} of {part.title}) is in use: stop what listens there, or set "
            f"{environment_variable(name)} to another port"
            for part in parts
            for name in part.ports
            if is_busy(ports[name])
        ),
    ]
    if findings:
        raise PreflightError(findings)


def _tools(layout: Layout) -> Iterable[str]:
    if sys.version_info[:2] != PYTHON:
        yield f"Python {sys.version.split()[0]} runs this, but Flink needs 3.11: {SET_UP}"
    yield from _java()
    if not Path(sys.executable).with_name("weed").exists():
        yield f"`weed` (SeaweedFS) is missing in the virtual environment: {SET_UP}"
    for folder in ("flink-lib", "flink-plugins", "kafka", "cassandra"):
        if not (layout.jars / folder).is_dir():
            yield f"jars are missing ({layout.jars / folder}): {SET_UP}"


def _java() -> Iterable[str]:
    if java_home() is None:
        yield (
            f"Java {VERSION}, which Cassandra 5 and Flink 2 need, is neither in JAVA_HOME nor on PATH nor in "
            f"/usr/lib/jvm: apt-get install openjdk-{VERSION}-jre-headless"
        )


def _room(home: Path) -> Iterable[str]:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    disk_free_bytes = shutil.disk_usage(existing).free
    if disk_free_bytes < DISK_FREE_BYTES_MIN:
        yield (
            f"{disk_free_bytes / GIB:.1f} GiB of disk are free at {existing}, "
            f"{DISK_FREE_BYTES_MIN // GIB} are needed: free some, or clone to a larger disk"
        )
    memory_free_bytes = psutil.virtual_memory().available
    if memory_free_bytes < MEMORY_FREE_BYTES_MIN:
        yield (
            f"{memory_free_bytes / GIB:.1f} GiB of memory are free, "
            f"{MEMORY_FREE_BYTES_MIN // GIB} are needed: end other programs"
        )
