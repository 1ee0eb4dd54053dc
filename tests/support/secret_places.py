"""Looks for secrets in all places where others than their owner could read them.

A test gathers what was written, said and stored while parts ran, and asks in which of it a secret stands.
"""

import contextlib
import json
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pyarrow.fs
from redis import Redis

from connectors.compacted_topic import read_to_end
from settings import KafkaSettings, S3Settings
from tools.stack import Stack
from tools.stack.files import S3_BUCKET
from udfs.stores.archive import filesystem

# What Flink says of itself, and of a job.
FLINK_REST = ("/jobmanager/config", "/jobmanager/environment", "/config", "/taskmanagers", "/jobs/overview")
JOB_REST = ("", "/config", "/plan", "/exceptions", "/checkpoints", "/checkpoints/config", "/accumulators")
PUBLIC_PATHS = ("/v1/recent", "/openapi.json", "/docs", "/readyz", "/healthz")
PRIVATE_PATHS = ("/metrics", "/v1/tally", "/openapi.json", "/docs", "/readyz")
OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO

# (place, what stands there)
Content = tuple[str, bytes]


@dataclass(frozen=True)
class Secret:
    """A secret, and who knows it: files for their owner alone, and processes that get it by their environment.

    `knows` is asked the command line of a process. A text that is `common` may be the secret of other installations on
    this machine, so that only processes of this test are asked for it.
    """

    name: str
    text: str
    files: frozenset[Path] = frozenset()
    knows: Callable[[str], bool] = lambda _command: False
    common: bool = False

    @property
    def octets(self) -> bytes:
        """The secret as it would be written."""
        return self.text.encode()


def places_of(secrets: Sequence[Secret], files: Iterable[Path], contents: Iterable[Content]) -> list[str]:
    """`NAME in PLACE` for each secret that somebody else could read in these files, in this content or by `ps`."""
    found = [f"{secret.name} in the {said} of a process" for secret, said in _told(secrets)]
    for path in files:
        try:
            octets, is_open = path.read_bytes(), bool(path.stat().st_mode & OTHERS_MAY)
        # A scratch file of a job may be gone.
        except FileNotFoundError:
            continue
        found += [
            f"{secret.name} in the file {path}"
            for secret in secrets
            if secret.octets in octets and (is_open or path not in secret.files)
        ]
    for place, octets in contents:
        found += [f"{secret.name} in {place}" for secret in secrets if secret.octets in octets]
    return found


def files_below(*folders: Path) -> Iterator[Path]:
    """All files of these folders."""
    for folder in folders:
        yield from (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def files_of(stack: Stack) -> Iterator[Path]:
    """Logs, configurations and scratch files of a stack, and what ZooKeeper keeps for Flink."""
    layout = stack.layout
    yield from files_below(layout.logs, layout.conf, layout.run, layout.tmp, layout.data / "zookeeper")


def flink_says(stack: Stack, job: str) -> Iterator[Content]:
    """What Flink's REST address says of itself and of a job, with the graph."""
    for path in (*FLINK_REST, *(f"/jobs/{job}{path}" for path in JOB_REST)):
        yield f"Flink's answer {path}", json.dumps(stack.flink_rest(path)).encode()


def service_says(url: str, paths: Iterable[str], key: str = "") -> Iterator[Content]:
    """What a service answers to whoever has this key."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx2.Client(base_url=url, trust_env=False, timeout=60, headers=headers) as client:
        for path in paths:
            answer = client.get(path)
            yield f"the answer {path} of {url}", repr(answer.headers).encode() + answer.content


def objects(settings: S3Settings) -> Iterator[Content]:
    """Each object of the store: what Flink keeps of jobs, their graphs and checkpoints, archives and history."""
    store = filesystem(settings)
    for info in store.get_file_info(pyarrow.fs.FileSelector(S3_BUCKET, recursive=True)):
        if info.type is pyarrow.fs.FileType.File:
            # Checkpoints go while the others are read.
            with contextlib.suppress(FileNotFoundError), store.open_input_file(info.path) as file:
                yield f"the object {info.path}", bytes(file.read())


def records(kafka: KafkaSettings, topics: Iterable[str]) -> Iterator[Content]:
    """Each record of these topics."""
    for topic in topics:
        for record in read_to_end(kafka, topic, 60):
            yield f"a record of {topic}", (record.key or b"") + (record.value or b"")


def redis_holds(client: Redis) -> Iterator[Content]:
    """All that lies in a Redis."""
    read: dict[Any, Callable[[Any], Any]] = {
        b"string": client.get,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1, withscores=True),
    }
    for name in client.scan_iter():
        yield f"{name!r} of Redis", repr((name, read[client.type(name)](name))).encode()


def _told(secrets: Sequence[Secret]) -> Iterator[tuple[Secret, str]]:
    """Each secret that a process has among its arguments, or in its environment though it need not know it."""
    own = {psutil.Process().pid, *(one.pid for one in psutil.Process().children(recursive=True))}
    for process in psutil.process_iter():
        try:
            words, variables = process.cmdline(), process.environ()
        except psutil.Error:
            continue
        command = " ".join(words)
        for secret in secrets:
            if secret.common and process.pid not in own:
                continue
            if secret.text in command:
                yield secret, f"arguments ({command[:200]})"
            if secret.text in "\0".join(variables.values()) and not secret.knows(command):
                yield secret, f"environment ({command[:200]})"
