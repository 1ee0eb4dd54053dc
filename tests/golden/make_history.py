"""Makes a golden history as this code writes it: `python tests/golden/make_history.py vN`.

For a change of the manifest's version, before and not after it is released; files are never made again. Of code that
does not have this script yet, check that commit out elsewhere, put this file and tests/support/golden_history.py into
it, and run it there, with an interpreter that has today's requirements:

    git worktree add --detach /tmp/then COMMIT
    cp tests/golden/make_history.py /tmp/then/tests/golden/
    cp tests/support/golden_history.py /tmp/then/tests/support/
    cd /tmp/then && NUMBA_CACHE_DIR=/tmp/then-numba PATH_OF_PYTHON tests/golden/make_history.py vN

v1 is of a12e7d4, v2 of 84cac89 and v3 of 1a66cff: the last commits that wrote these. v2-whole-hours is of 707ad9e, the
last before slices could be parts of hours, which has no version of its own. From v4 on the register's row lies beside
the files, as JSON, and the manifests that it names are among them.
"""

import importlib.util
import io
import json
import lzma
import sys
import tarfile
import tempfile
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec
import pyarrow.fs

from schemas import registry
from settings import KafkaSettings, Settings
from tests.support import golden_history as golden
from tests.unit.test_archive_files import put
from udfs.logic.history.manifest import date_of
from udfs.logic.wire.metadata import read_metadata
from udfs.operators import rollup
from udfs.operators.rollup import CountSlices, MergeShard, PublishManifest
from udfs.sinks import history_rows
from udfs.stores.archive import Archive, Record
from udfs.stores.history_store import HistoryStore

PARTITIONS = 2


def known_channels() -> dict[str, Any]:
    """What the metadata topic keeps."""
    found = {}
    for video, channel in golden.CHANNELS.items():
        about = {"video_id": video, "channel_id": channel, "title": "t", "channel_name": "n", "created_at": 0}
        read: Any = read_metadata(video.encode(), registry.encode("VideoMetadata", about))
        found[video] = read.rest
    return found


class EarlyRollup:
    """tests.support.local_rollup.LocalRollup, for code from before it and before keys of shards were balanced."""

    def __init__(self, root: Path) -> None:
        self._root = root
        plain = Settings(counting=golden.RULES, kafka=KafkaSettings(partitions=PARTITIONS))
        known = {name: value for name, value in golden.HISTORY.items() if name in type(plain.history).model_fields}
        history = plain.history.model_copy(update={"path": str(root / "history"), **known})
        archive = plain.archive.model_copy(update={"path": str(root / "archive")})
        self._settings = plain.model_copy(update={"archive": archive, "history": history})
        self._offsets = dict.fromkeys(range(PARTITIONS), 0)

    def archive(self, records: Any) -> None:
        """(record_ms, salt, value) in the order of their arrival."""
        found: dict[tuple[int, int], list[Record]] = defaultdict(list)
        for record_ms, salt, value in records:
            partition = salt % PARTITIONS
            record = Record(self._offsets[partition], record_ms, salt.to_bytes(4, "big"), value)
            found[record_ms // golden.HOUR_MS, partition].append(record)
            self._offsets[partition] += 1
        for (hour, partition), mine in found.items():
            day, of_day = divmod(hour, 24)
            folder = f"arrival_day={date_of(day)}/arrival_hour={of_day:02}/kafka_partition={partition}"
            put(self._root / "archive", folder, f"part-{mine[0].offset}", mine)

    def run(self) -> None:
        """Count what there is to count."""
        settings, store = self._settings, pyarrow.fs.LocalFileSystem()
        early: Any = HistoryStore(store, settings.history.path)
        before = early.manifest(golden.RULES.shards)
        task_of = importlib.import_module("udfs.logic.history.manifest").task_of
        archived = defaultdict(set)
        for file in Archive(store, settings.archive.path).files():
            archived[file.partition].add(file.hour)
        tasks = [task_of(partition, hours, before.last_hours.get(partition)) for partition, hours in archived.items()]
        state, kept = msgspec.json.encode(before), known_channels()

        class Topic:
            def __init__(self, _servers: str, topic: str, _read: object) -> None:
                self._kept = kept if topic == settings.kafka.metadata_topic else {}

            def read_however_long(self, take: Any) -> None:
                for key, rest in self._kept.items():
                    take(key, rest)

        with (
            mock.patch.object(rollup, "filesystem", return_value=store),
            mock.patch.object(rollup, "CompactedTopic", Topic),
            mock.patch.object(history_rows, "connect_however_long"),
            mock.patch.object(history_rows, "prepare_however_long"),
            mock.patch.object(history_rows, "write_all"),
        ):
            told = defaultdict(list)
            early = CountSlices
            counting = early(settings, state)
            counting.open(None)
            for task in tasks:
                for shard, infos in counting.flat_map(msgspec.json.encode(task).decode()):
                    told[shard].append(infos)
            early = MergeShard
            merging = early(settings, state, len(tasks))
            merging.open(None)
            early = PublishManifest
            publishing = early(settings, state)
            publishing.open(None)
            for shard, values in told.items():
                of_shard: Any = SimpleNamespace(get_current_key=lambda shard=shard: shard)
                for value in values:
                    for _, result in merging.process_element(value, of_shard):
                        list(publishing.process_element(result, of_shard))


def rollup_of(root: Path) -> Any:
    """What this code has to run one in this process."""
    if importlib.util.find_spec("tests.support.local_rollup") is None:
        return EarlyRollup(root)
    from tests.support.local_rollup import LocalRollup

    return LocalRollup(root, golden.RULES, {"video-metadata": known_channels()}, **golden.HISTORY)


def register_of(rollup: Any) -> bytes:
    """The register's row as the last rollup has left it, but for the path, which is another wherever it is used."""
    register = rollup.registers.read()
    assert register.applied.manifest == register.manifest
    return msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(register, path="history")))


def packed(root: Path) -> bytes:
    """Everything below, but for the copy of the manifest that lies beside it; the same bytes for the same files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.name != "manifest.json":
                entry = tarfile.TarInfo(str(path.relative_to(root)))
                entry.size = path.stat().st_size
                tar.addfile(entry, io.BytesIO(path.read_bytes()))
    return lzma.compress(content.getvalue(), preset=9)


def main(name: str, folder: Path) -> None:
    """Archive, count, archive more, count that, and keep the history."""
    target = folder / name
    if target.exists():
        raise SystemExit(f"{target} exists, and golden files stay as they are; choose another name")
    with tempfile.TemporaryDirectory() as root:
        one = rollup_of(Path(root))
        for hours in golden.GOLDEN:
            one.archive(golden.records(hours))
            one.run()
        history = Path(root) / "history"
        for path in history.rglob("*.json"):
            # Whoever unpacks it has it elsewhere.
            path.write_text(path.read_text().replace(root, "golden"))
        manifest = (history / "manifest.json").read_bytes()
        version = json.loads(manifest)["version"]
        if f"v{version}" != name.partition("-")[0]:
            raise SystemExit(
                f"this code writes version {version}, so that its history is not {name}: call it v{version}"
            )
        target.mkdir(parents=True)
        (target / "manifest.json").write_bytes(manifest)
        if hasattr(one, "registers"):
            (target / "register.json").write_bytes(register_of(one))
        (target / "files.tar.xz").write_bytes(packed(history))
        (target / "expected.json").write_text(golden.expected_text())
    print(f"{target}: {sum(path.stat().st_size for path in target.iterdir())} bytes")


if __name__ == "__main__":
    main(sys.argv[1], golden.FOLDER)
