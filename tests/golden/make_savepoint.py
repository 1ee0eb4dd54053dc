"""Makes a golden savepoint of the state that this code writes: `python tests/golden/make_savepoint.py NAME`.

For a change of any state's version, before and not after it is released; files are never made again.
"""

import gzip
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.golden_savepoint import ENRICHED, FOLDER, PARALLELISM, TITLES, feed, installation_of
from tests.support.installation import Installation
from tests.support.metadata import titles
from tests.support.waiting import eventually
from tools.stack import Stack, StackOptions
from tools.stack.machine.local_http import open_local

PARTS = ("zookeeper", "kafka", "cassandra", "seaweedfs", "jobmanager", "taskmanager")


def titled(installation: Installation) -> set[str]:
    """Videos of which every partition has a title."""
    found = titles(installation)
    return {video for video, _ in found} - {video for (video, _), title in found.items() if title is None}


def main(name: str) -> None:
    """Count, stop with a savepoint and keep its only file."""
    target = FOLDER / f"{name}.metadata.gz"
    if target.exists():
        raise SystemExit(f"{target} exists, and golden files stay as they are; choose another name")
    with tempfile.TemporaryDirectory() as home:
        options = StackOptions(home=Path(home), ports="free", parts=PARTS, graceful_stop=False)
        with Stack(options) as stack, installation_of(stack, name) as installation:
            feeder = feed(installation, name)
            job = installation.start(parallelism=PARALLELISM)
            assert eventually(lambda: installation.ledger()["records"] == feeder.records), installation.ledger()
            if ENRICHED in name:
                assert eventually(lambda: titled(installation) == TITLES.keys()), titles(installation)
            path = stack.flink_stop(job).removeprefix("s3://")
            folder = f"http://127.0.0.1:{stack.ports['seaweed_filer']}/buckets/{path}/"
            # So little state rides in the metadata file whole.
            with open_local(f"{folder}_metadata", timeout_s=60) as answer:
                target.write_bytes(gzip.compress(answer.read(), mtime=0))
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
