"""Finds the Java for Kafka, Cassandra and Flink: the first Java 17, in the same order as bin/setup."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

from tools.stack.layout import SHORT_FOLDER, Layout
from tools.stack.machine.environment import inherited

VERSION = 17


@functools.cache
def java_home() -> Path | None:
    """The home folder of a Java 17: that of JAVA_HOME, on PATH, or of a Debian package. None if there is none."""
    candidates = [
        *([Path(os.environ["JAVA_HOME"], "bin", "java")] if os.environ.get("JAVA_HOME") else []),
        *([Path(found)] if (found := shutil.which("java")) else []),
        *sorted(Path("/usr/lib/jvm").glob(f"*{VERSION}*/bin/java")),
    ]
    for candidate in candidates:
        if _major_version(candidate) == VERSION:
            return candidate.resolve().parents[1]
    return None


def java() -> str:
    """The java command. Preflight checks that there is one; otherwise this is `java`."""
    home = java_home()
    return str(home / "bin" / "java") if home else "java"


def jvm(layout: Layout) -> list[str]:
    """The beginning of the command of a part that runs in a JVM.

    With these options the report of a crash is in the folder of logs. The JVM unpacks files into the stack's own
    scratch folder, because the machine's may be full or forbid programs. The home folder is set, because Java looks it
    up in the list of users, which need not have the user of this process.
    """
    own = (f"-Djava.io.tmpdir={layout.tmp}", f"-Duser.home={layout.part_home}")
    return [java(), f"-XX:ErrorFile={layout.logs / 'hs_err_%p.log'}", *own]


def growing_heap(most_mib: int) -> list[str]:
    """Options of a heap that begins with a quarter and grows to `most_mib` while collections would take too much time.

    A heap that begins whole is used whole, however little of it is alive.
    """
    return [f"-Xms{most_mib // 4}m", f"-Xmx{most_mib}m"]


def _major_version(command: Path) -> int | None:
    try:
        printed = subprocess.run(
            # The environment is that of the parts, since options in Java's own variables could change the answer.
            [command, "-version"],
            env=inherited(SHORT_FOLDER),
            capture_output=True,
            text=True,
            check=False,
        ).stderr
    except OSError:
        return None
    version = re.search(r'version "(\d+)', printed)
    return int(version[1]) if version else None
