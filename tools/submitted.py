"""Keeps how the running count job was submitted, so that an upgrade can go back to it.

It keeps the arguments, the settings and a copy of the code. The copy is needed because the Python workers of a job
import their code from the clone, which has the new code by then. Knows files, and no Flink.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.stack.machine.environment import PREFIX

# The packages that the job's driver and its workers import.
PACKAGES = ("jobs", "udfs", "connectors", "schemas", "settings")
# Variables with one of these words are not written to a file. The environment has them whenever they are needed. The
# path of a file is no secret.
SECRET = ("SECRET", "PASSWORD", "ACCESS_KEY")


@dataclass(frozen=True)
class Submitted:
    """How one job was submitted.

    `flink_arguments` are the arguments of `flink run` before `-py`, and `job_arguments` those after the script.
    `variables` are the settings, by environment variable. `code` is the folder with the copy of the code.
    """

    flink_arguments: tuple[str, ...]
    job_arguments: tuple[str, ...]
    variables: Mapping[str, str]
    code: Path

    def again(
        self, script: str, savepoint: str, environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str | None]]:
        """(arguments of `flink run`, changes of the environment) that start this job again from a savepoint."""
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
    """Keep how a job was just submitted with this environment. `code` is the clone. Replaces what was kept before."""
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
    """What was kept last; None if nothing was kept, or if it is not complete."""
    try:
        known = json.loads((folder / "submitted.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return Submitted(
        tuple(known["flink_arguments"]), tuple(known["job_arguments"]), known["variables"], folder / "code"
    )


def _is_kept(name: str) -> bool:
    return name.startswith(PREFIX) and (name.endswith("_FILE") or not any(word in name for word in SECRET))
