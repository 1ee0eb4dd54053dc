"""The paths of the clone and of one stack. Only computes paths; starts nothing."""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "VIEW_COUNTS_STACK_HOME"
# Linux allows 108 bytes for the path of a unix socket, and one of them is the closing zero.
UNIX_SOCKET_PATH_BYTES_MAX = 107
# HAProxy binds another name first, and then gives the socket its own: behind it stand its process id and ".tmp".
TEMPORARY_SUFFIX_BYTES = 16
# This is not TMPDIR, which may differ between the terminal that started a stack and one that uses it.
SHORT_FOLDER = Path("/tmp")  # noqa: S108 - the name of a socket there says whose it is


def repository() -> Path:
    """The root folder of the clone."""
    return Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Layout:
    """The paths of one stack. It writes only into `home`, so removing that folder removes the stack completely."""

    home: Path

    @property
    def local(self) -> Path:
        """The git-ignored folder that all stacks of this clone share: environment, jars, caches."""
        return repository() / ".local"

    @property
    def jars(self) -> Path:
        """The folder of the jars that Maven fetches: flink-lib, flink-plugins, kafka, cassandra."""
        return self.local / "jars"

    @property
    def python(self) -> Path:
        """The interpreter of all processes, as a path in the virtual environment."""
        return Path(sys.executable)

    @property
    def flink_home(self) -> Path:
        """The folder of Flink in the pip package. It is never changed."""
        return Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "pyflink"

    @property
    def cache(self) -> Path:
        """The folder of cached results that depend only on settings. All stacks of the clone share it."""
        return self.local / "cache"

    @property
    def numba_cache(self) -> Path:
        """The folder of compiled kernels."""
        return self.local / "numba-cache"

    @property
    def data(self) -> Path:
        """The folder of data that survive a restart of the stack."""
        return self.home / "data"

    @property
    def conf(self) -> Path:
        """The folder of configuration files, which are written again at every start."""
        return self.home / "conf"

    @property
    def flink_conf(self) -> Path:
        """FLINK_CONF_DIR."""
        return self.conf / "flink"

    @property
    def flink_lib(self) -> Path:
        """FLINK_LIB_DIR: links to the jars of the package and to those that Maven fetches."""
        return self.home / "flink" / "lib"

    @property
    def flink_plugins(self) -> Path:
        """FLINK_PLUGINS_DIR."""
        return self.home / "flink" / "plugins"

    @property
    def logs(self) -> Path:
        """The folder with a log for each part. The supervisor rotates them."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """The folder with files of process ids and with sockets."""
        return self.home / "run"

    @property
    def tmp(self) -> Path:
        """The scratch folder of the parts."""
        return self.home / "tmp"

    @property
    def part_home(self) -> Path:
        """HOME of the parts. It is empty at their start, so that no part reads files of the user."""
        return self.tmp / "home"

    @property
    def certificate(self) -> Path:
        """The file with the balancer's own certificate and its key. Beside it is the certificate alone, for clients."""
        return self.data / "haproxy" / "localhost.pem"

    @property
    def submitted(self) -> Path:
        """The folder that says how the running count job was submitted: see tools/submitted.py."""
        return self.data / "submitted"

    @property
    def state_file(self) -> Path:
        """The file by which another command finds this stack: its parts and ports."""
        return self.home / "stack.json"

    def log_file(self, part: str) -> Path:
        """The log of one part."""
        return self.logs / f"{part}.log"

    def pid_file(self, part: str) -> Path:
        """The file with the process id of a part. The part's wrapper writes it while the part runs."""
        return self.run / f"{part}.pid"

    def socket(self, name: str) -> Path:
        """The path of a unix socket: in the home, or in /tmp if the path in the home is too long."""
        path = self.run / f"{name}.sock"
        if len(os.fsencode(path)) <= UNIX_SOCKET_PATH_BYTES_MAX - TEMPORARY_SUFFIX_BYTES:
            return path
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return SHORT_FOLDER / f"view-counts-{digest}-{name}.sock"

    def make_folders(self) -> None:
        """Create every folder that parts need."""
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
