"""Which Java runs Kafka, Cassandra and Flink: the first 17 found, in the order that bin/setup looks."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

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


def jvm(logs: Path) -> list[str]:
    """How the command of a part in Java begins; one that crashes leaves its report among the logs."""
    return [java(), f"-XX:ErrorFile={logs / 'hs_err_%p.log'}"]


def _major_version(command: Path) -> int | None:
    try:
        printed = subprocess.run([command, "-version"], capture_output=True, text=True, check=False).stderr
    except OSError:
        return None
    version = re.search(r'version "(\d+)', printed)
    return int(version[1]) if version else None
