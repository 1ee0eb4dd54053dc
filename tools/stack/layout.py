"""Where everything lives: the clone's own folders and one stack's home. Knows paths only, starts nothing."""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "VIEW_COUNTS_STACK_HOME"
# Linux refuses a longer name for a unix socket; one byte is for the closing zero.
UNIX_SOCKET_PATH_BYTES_MAX = 107
# Not TMPDIR, which may be another in the terminal in which a stack was started than in one that asks for it.
SHORT_FOLDER = Path("/tmp")  # noqa: S108 - the name of a socket there says whose it is


def repository() -> Path:
    """The root folder of the clone."""
    return Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Layout:
    """Paths of one stack. `home` holds all it writes, so that removing it forgets the stack completely."""

    home: Path

    @property
    def local(self) -> Path:
        """The git-ignored folder shared by all stacks of this clone: environment, jars, caches."""
        return repository() / ".local"

    @property
    def jars(self) -> Path:
        """What pom.xml fetched: flink-lib, flink-plugins, kafka, cassandra."""
        return self.local / "jars"

    @property
    def python(self) -> Path:
        """The interpreter everything runs on, named within the virtual environment."""
        return Path(sys.executable)

    @property
    def flink_home(self) -> Path:
        """Flink as the pip package brings it; read only."""
        return Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "pyflink"

    @property
    def cache(self) -> Path:
        """Results of slow look-ups that depend on settings alone, shared by all stacks of the clone."""
        return self.local / "cache"

    @property
    def numba_cache(self) -> Path:
        """Compiled kernels."""
        return self.local / "numba-cache"

    @property
    def data(self) -> Path:
        """What survives a restart of the stack."""
        return self.home / "data"

    @property
    def conf(self) -> Path:
        """Rendered configuration, written anew at every start."""
        return self.home / "conf"

    @property
    def flink_conf(self) -> Path:
        """FLINK_CONF_DIR."""
        return self.conf / "flink"

    @property
    def flink_lib(self) -> Path:
        """FLINK_LIB_DIR: links to the package's jars and to ours."""
        return self.home / "flink" / "lib"

    @property
    def flink_plugins(self) -> Path:
        """FLINK_PLUGINS_DIR."""
        return self.home / "flink" / "plugins"

    @property
    def logs(self) -> Path:
        """One log a part, rotated by the supervisor."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """Process ids of the parts' main processes."""
        return self.home / "run"

    @property
    def tmp(self) -> Path:
        """Scratch space of the parts."""
        return self.home / "tmp"

    @property
    def part_home(self) -> Path:
        """HOME of the parts, empty at their start: what is in the user's own folder is not for them."""
        return self.tmp / "home"

    @property
    def submitted(self) -> Path:
        """How the count job that runs was submitted: see tools/submitted.py."""
        return self.data / "submitted"

    @property
    def state_file(self) -> Path:
        """What a second command needs to find this stack: parts and ports."""
        return self.home / "stack.json"

    def log_file(self, part: str) -> Path:
        """The log of one part."""
        return self.logs / f"{part}.log"

    def pid_file(self, part: str) -> Path:
        """Written by the part's wrapper while the part runs."""
        return self.run / f"{part}.pid"

    def socket(self, name: str) -> Path:
        """A unix socket's path: in the home, or in /tmp when the home's name is too long."""
        path = self.run / f"{name}.sock"
        if len(os.fsencode(path)) <= UNIX_SOCKET_PATH_BYTES_MAX:
            return path
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return SHORT_FOLDER / f"view-counts-{digest}-{name}.sock"

    def make_folders(self) -> None:
        """Create every folder that parts expect to find."""
        for folder in (
            self.data,
            self.flink_conf,
            self.logs,
            self.run,
            self.part_home,
            self.cache,
            self.numba_cache,
        ):
            folder.mkdir(parents=True, exist_ok=True)
