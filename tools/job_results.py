"""Completes the results that Flink 2.3.0 keeps of jobs that failed before they ran, so that a JobManager can start.

A job that ends leaves a result in the HA storage until everything of the job is removed. If a job failed before it ran,
for example because of a refused restore, its result names no application and is never removed. A JobManager that finds
such a result ends at once, at every start, and no other job can run either. The same happens if the JobManager is
killed after it wrote the result of a job and before it wrote that of the job's application. This program completes such
results, and Flink then removes them by itself.

    python -m tools.job_results [COMMAND...]

It reads the place from Flink's configuration in FLINK_CONF_DIR, and then replaces itself by COMMAND. Run it before each
start of a JobManager. It does no harm to a JobManager that runs.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.fs
from ruamel.yaml import YAML

DIRTY = "_DIRTY.json"
# These are short, because the JobManager itself reports a store that is away.
TIMEOUT_S = 5.0
ATTEMPTS = 2


class ConfigurationError(ValueError):
    """Flink's configuration lacks a key; the text names it."""


def complete(store: pyarrow.fs.FileSystem, storage: str, cluster_id: str) -> list[str]:
    """Complete the results below `storage`, the path of high-availability.storageDir. Returns the jobs' ids."""
    jobs = f"{storage.rstrip('/')}/job-result-store/{cluster_id.strip('/')}"
    applications = f"{storage.rstrip('/')}/application-result-store/{cluster_id.strip('/')}"
    completed = []
    for file in store.get_file_info(pyarrow.fs.FileSelector(jobs, allow_not_found=True)):
        if not file.base_name.endswith(DIRTY):
            continue
        with store.open_input_stream(file.path) as stream:
            entry = json.load(stream)
        result = entry["result"]
        job = result["id"]
        # `flink run` submits an application with the same id as the job. Flink handles other applications correctly.
        if result.get("application-id", job) != job:
            continue
        application = f"{applications}/{job}{DIRTY}"
        is_there = store.get_file_info(application).type is pyarrow.fs.FileType.File
        if is_there and "application-id" in result:
            continue
        # This is written first. If the program ends between the two writes, the next run does both again.
        store.create_dir(applications)
        _write(store, application, {"result": _application(result), "version": entry["version"]})
        _write(store, file.path, {**entry, "result": {**result, "application-id": job}})
        completed.append(job)
    return completed


def _application(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result of the application around a job, as Flink's ApplicationResultSerializer writes it."""
    states = {"SUCCEEDED": "FINISHED", "CANCELED": "CANCELED"}
    return {
        "application-id": result["id"],
        "application-state": states.get(result["application-status"], "FAILED"),
        "application-name": f"SingleJobApplication({result['name']})",
        "start-time": result["start-time"],
        "end-time": result["end-time"],
    }


def _write(store: pyarrow.fs.FileSystem, path: str, content: Mapping[str, Any]) -> None:
    with store.open_output_stream(path) as stream:
        stream.write(json.dumps(content).encode())


def read_configuration(folder: Path) -> dict[str, str]:
    """The values of Flink's config.yaml, with nested keys joined by dots."""
    with (folder / "config.yaml").open(encoding="utf-8") as stream:
        return dict(_flat("", YAML(typ="safe").load(stream) or {}))


def _flat(prefix: str, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for key, value in values.items():
        found += _flat(f"{prefix}{key}.", value) if isinstance(value, Mapping) else [(f"{prefix}{key}", str(value))]
    return found


def complete_as_configured(configuration: Mapping[str, str]) -> list[str]:
    """Complete the results in the place that Flink's configuration names. Raises ConfigurationError and OSError."""
    storage = configuration.get("high-availability.storageDir")
    if storage is None:
        raise ConfigurationError("high-availability.storageDir is not set in Flink's config.yaml: set it")
    store, path = _store(storage, configuration)
    return complete(store, path, configuration.get("high-availability.cluster-id", "default"))


def _store(url: str, configuration: Mapping[str, str]) -> tuple[pyarrow.fs.FileSystem, str]:
    scheme, _, path = url.partition("://")
    if scheme not in ("s3", "s3a"):
        store, path = pyarrow.fs.FileSystem.from_uri(url)
        return store, str(path)
    store = pyarrow.fs.S3FileSystem(
        access_key=configuration.get("s3.access-key"),
        secret_key=configuration.get("s3.secret-key"),
        endpoint_override=configuration.get("s3.endpoint"),
        region=configuration.get("s3.region"),
        connect_timeout=TIMEOUT_S,
        request_timeout=TIMEOUT_S,
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )
    return store, path


def _configuration_folder() -> Path:
    folder = os.environ.get("FLINK_CONF_DIR")
    if folder is None:
        raise ConfigurationError("FLINK_CONF_DIR is not set: name the folder of Flink's config.yaml")
    return Path(folder)


def main(command: list[str]) -> int:
    """Complete the results, print which, and replace this process by the command, if there is one.

    Errors are printed. They end the program with exit code 1 only if there is no command.
    """
    try:
        for job in complete_as_configured(read_configuration(_configuration_folder())):
            print(f"completed the result of job {job}, which ended without being cleaned up", flush=True)
    except (ConfigurationError, OSError, ValueError, KeyError) as error:
        print(f"job results could not be checked: {error}", file=sys.stderr, flush=True)
        if not command:
            return 1
    if command:
        os.execvp(command[0], command)  # noqa: S606
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
