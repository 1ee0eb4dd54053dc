"""Checks the machine and the clone before anything starts, and says in one line what is wrong with each thing.

It repairs nothing. It also checks tools that the set-up installs, because tests start the stack without set-up, and the
machine may have changed.
"""

import difflib
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from settings import Settings
from tools.stack.layout import HOME_VARIABLE, Layout, repository
from tools.stack.machine.disk import GIB, MIB, DiskLimits, disk_limits, free_bytes, variable
from tools.stack.machine.environment import JAVA_OPTIONS_VARIABLE, PREFIX, user_name
from tools.stack.machine.haproxy import haproxy
from tools.stack.machine.java import VERSION, java_home
from tools.stack.machine.limits import refused_limits
from tools.stack.machine.ports import DEFAULT_PORTS, environment_variable, is_busy
from tools.stack.machine.valkey import valkey_server
from tools.stack.parts import Part

MEMORY_FREE_BYTES_MIN = 6 * GIB
PYTHON = (3, 11)
SET_UP = "run `make setup`"
# The prefix of variables that only tests use.
TEST_PREFIX = "VIEW_COUNTS_TEST_"
# Letters and digits of any language, and signs that end no word in a class path, a URL, or the settings of a part.
GOOD_PATH = re.compile(r"[\w ./+@=~-]+")


class PreflightError(RuntimeError):
    """The machine or the clone is not ready. The text has a line for each finding."""

    def __init__(self, findings: Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(self.findings))


def check(layout: Layout, parts: Iterable[Part], ports: Mapping[str, int]) -> None:
    """Raise PreflightError unless everything that `parts` need exists and is free."""
    parts = tuple(parts)
    findings = [
        *_tools(layout),
        *_paths(layout),
        *_room(layout.home),
        *refused_limits(),
        *unknown_variables(os.environ),
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
    if not valkey_server().exists():
        yield f"`valkey-server` (Redis) is missing in the virtual environment: {SET_UP}"
    if haproxy() is None:
        yield f"`haproxy` (the load balancer) is neither on PATH nor in /usr/sbin: {SET_UP}"
    if shutil.which("openssl") is None:
        yield "`openssl`, which makes the load balancer's certificate, is not on PATH: apt-get install openssl"
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
    disk_free_bytes, needed_mib = free_bytes(home), disk_limits().start_mib
    if disk_free_bytes < needed_mib * MIB:
        yield (
            f"{disk_free_bytes / GIB:.1f} GiB of disk are free at {home}, "
            f"and {needed_mib / 1024:g} are needed: free some, or clone to a larger disk"
        )
    memory_free_bytes = psutil.virtual_memory().available
    if memory_free_bytes < MEMORY_FREE_BYTES_MIN:
        yield (
            f"{memory_free_bytes / GIB:.1f} GiB of memory are free, "
            f"and {MEMORY_FREE_BYTES_MIN // GIB} are needed: end other programs"
        )


def _paths(layout: Layout) -> Iterable[str]:
    for path, remedy in ((repository(), "clone to another place"), (layout.home, f"set {HOME_VARIABLE} to another")):
        bad = sorted(set(GOOD_PATH.sub("", str(path))))
        if bad:
            signs = " ".join(map(repr, bad))
            yield f"the path {str(path)!r} has {signs}, which parts misread: {remedy}"
    # Another user, such as root, may have made these folders.
    for folder in (layout.home, layout.data, layout.logs, layout.conf, layout.cache, layout.numba_cache):
        existing = next(one for one in (folder, *folder.parents) if one.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            yield (
                f"{existing} cannot be written by this user ({user_name()}): clone, set up and start as one user, or "
                f"set {HOME_VARIABLE} to a folder of theirs"
            )


def known_variables() -> set[str]:
    """Every VIEW_COUNTS_* variable that has a meaning."""
    known = {HOME_VARIABLE, JAVA_OPTIONS_VARIABLE, *map(environment_variable, DEFAULT_PORTS)}
    known |= {variable(name) for name in DiskLimits.__dataclass_fields__}
    for group, outer in Settings.model_fields.items():
        known |= {f"{PREFIX}{group}_{name}".upper() for name in getattr(outer.annotation, "model_fields", {})}
    return known


def unknown_variables(environment: Mapping[str, str]) -> Iterable[str]:
    """A line for each variable that looks like a setting and is none, because its user believes that it has effect."""
    known = known_variables()
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name.startswith(TEST_PREFIX) or name.upper() in known:
            continue
        near = difflib.get_close_matches(name.upper(), known, 1)
        yield f"{name} is set and is not a setting: unset it" + (f", or do you mean {near[0]}?" if near else "")
