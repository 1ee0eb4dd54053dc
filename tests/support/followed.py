"""The index of titles after the topic of metadata was read. No Kafka."""

from typing import Any

from services.query.titles.following import Following, Progress
from services.query.titles.index import Video


class Followed(Following):
    """One that has read the topic to its end, a while ago."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.index.put([("A", Video("A", "Aurora", "c-1", "Night sky", 1000))])
        self.progress = Progress(1.0, "the topic cannot be read")
