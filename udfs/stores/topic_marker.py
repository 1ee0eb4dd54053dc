"""A file in the archive that says of which Kafka topic its records are. Without it, offsets would have no meaning."""

import msgspec
import pyarrow.fs

from udfs.stores.replaced_file import replace

# The name is a hidden one, because the file has no records.
NAME = "_topic.json"


class TopicMarker(msgspec.Struct, frozen=True):
    """The topic's name and Kafka's id of it. A topic that was deleted and made again has another id."""

    topic: str
    id: str


def marked_topic(store: pyarrow.fs.FileSystem, archive_path: str) -> TopicMarker | None:
    """Read the archive's marker. None if there is none, as in archives of earlier versions."""
    path = f"{archive_path.removeprefix('s3://')}/{NAME}"
    if store.get_file_info(path).type is not pyarrow.fs.FileType.File:
        return None
    with store.open_input_stream(path) as stream:
        return msgspec.json.decode(stream.read(), type=TopicMarker)


def mark_topic(store: pyarrow.fs.FileSystem, archive_path: str, marker: TopicMarker) -> None:
    """Write the archive's marker."""
    replace(store, f"{archive_path.removeprefix('s3://')}/{NAME}", msgspec.json.encode(marker))
