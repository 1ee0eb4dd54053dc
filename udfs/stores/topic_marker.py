"""Which Kafka topic an archive holds the records of: a file beside them, since offsets mean nothing without it."""

import msgspec
import pyarrow.fs

from udfs.stores.replaced_file import replace

# Hidden, as what no record is in.
NAME = "_topic.json"


class TopicMarker(msgspec.Struct, frozen=True):
    """The topic's name, and the id that Kafka gave it; another topic of the same name has another id."""

    topic: str
    id: str


def marked_topic(store: pyarrow.fs.FileSystem, archive_path: str) -> TopicMarker | None:
    """What the archive's marker says; None where there is none, as in archives of versions that wrote none."""
    path = f"{archive_path.removeprefix('s3://')}/{NAME}"
    if store.get_file_info(path).type is not pyarrow.fs.FileType.File:
        return None
    with store.open_input_stream(path) as stream:
        return msgspec.json.decode(stream.read(), type=TopicMarker)


def mark_topic(store: pyarrow.fs.FileSystem, archive_path: str, marker: TopicMarker) -> None:
    """Say which topic the archive is of."""
    replace(store, f"{archive_path.removeprefix('s3://')}/{NAME}", msgspec.json.encode(marker))
