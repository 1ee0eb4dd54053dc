"""Which Java runs Kafka, Cassandra and Flink: the first 17 found, in the order that bin/setup looks."""

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
    """The home folder of a Java 17, or None: JAVA_HOME's, the one on PATH, or one of Debian's packages."""
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
    """The java command. Preflight has made sure that there is one; plain `java` where it has not."""
    home = java_home()
    return str(home / "bin" / "java") if home else "java"


def jvm(layout: Layout) -> list[str]:
    """How the command of a part in Java begins.

    One that crashes leaves its report among the logs. What it unpacks goes to the stack's own folder, not to the
    machine's, which may be full or forbid programs; and Java takes the user's folder from the list of users, in which
    who runs this need not be.
    """
    own = (f"-Djava.io.tmpdir={layout.tmp}", f"-Duser.home={layout.part_home}")
    return [java(), f"-XX:ErrorFile={layout.logs / 'hs_err_%p.log'}", *own]


def _major_version(command: Path) -> int | None:
    try:
        printed = subprocess.run(
            # Else an option in a variable of Java's, which parts do not see, would be an answer.
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
