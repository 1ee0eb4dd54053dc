"""How the count job that runs was submitted: arguments, settings and code, kept so that an upgrade can go back to it.

A job's graph is Flink's, but its Python workers import code from the clone, which an upgrade has changed by then. So a
copy of the code is kept beside the arguments. Knows files, not Flink.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.stack.machine.environment import PREFIX

# What the job's driver and its workers import.
PACKAGES = ("jobs", "udfs", "connectors", "schemas", "settings")
# Not for a file: where one is needed it is in the environment, before and after.
SECRET = ("SECRET", "PASSWORD", "ACCESS_KEY")


@dataclass(frozen=True)
class Submitted:
    """Of one job. `arguments` are those of `flink run` up to `-py`, and then the job's own after the script."""

    flink_arguments: tuple[str, ...]
    job_arguments: tuple[str, ...]
    variables: Mapping[str, str]
    code: Path

    def again(
        self, script: str, savepoint: str, environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str | None]]:
        """(arguments of `flink run`, changes of the environment) that start it from a savepoint, as it was."""
        changes: dict[str, str | None] = {name: None for name in environment if _is_kept(name)}
        changes |= {**self.variables, "PYTHONPATH": str(self.code)}
        files = ["-pyfs", str(self.code), "-py", str(self.code / script)]
        return ["-s", savepoint, *self.flink_arguments, *files, *self.job_arguments], changes


def keep(
    folder: Path,
    code: Path,
    flink_arguments: Sequence[str],
    job_arguments: Sequence[str],
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Write down what has just been submitted with this environment; `code` is the clone. Replaces what was kept."""
    partial, old = folder.with_suffix(".new"), folder.with_suffix(".old")
    for rest in (partial, old):
        shutil.rmtree(rest, ignore_errors=True)
    for package in PACKAGES:
        shutil.copytree(code / package, partial / "code" / package, ignore=shutil.ignore_patterns("__pycache__"))
    known = {
        "flink_arguments": list(flink_arguments),
        "job_arguments": list(job_arguments),
        "variables": {name: value for name, value in environment.items() if _is_kept(name)},
    }
    (partial / "submitted.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def kept(folder: Path) -> Submitted | None:
    """What was written last; None when nothing was, or not all of it."""
    try:
        known = json.loads((folder / "submitted.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return Submitted(
        tuple(known["flink_arguments"]), tuple(known["job_arguments"]), known["variables"], folder / "code"
    )


def _is_kept(name: str) -> bool:
    return name.startswith(PREFIX) and not any(word in name for word in SECRET)
