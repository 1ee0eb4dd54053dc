"""What a stream of live answers consists of: the data of its events."""

from typing import Annotated

from msgspec import Meta, Struct

from services.query.api.answers.about import Time
from services.query.api.answers.top import TopVideos
from services.query.api.answers.videos import VideoViews

EveryS = Annotated[
    int,
    Meta(description="How many seconds lie between two readings now. It is more than 1 while much is listened to."),
]


class LiveViews(VideoViews, frozen=True, kw_only=True):
    """Event `views`: the total of one video, as the total's own answer has it."""

    every_s: EveryS


class LiveTop(TopVideos, frozen=True, kw_only=True):
    """Event `top`: a list of the stream, as the list's own answer has it."""

    every_s: EveryS


class Lowered(Struct, frozen=True):
    """Event `lowered`: the next event of this stream has fewer views than the one before."""

    before: int
    now: int
    because: str


class LiveAway(Struct, frozen=True):
    """Event `away`: what is listened to cannot be read now. What was said before is as old as `since`."""

    error: str
    since: Annotated[Time, Meta(description="When it was last read.")]


class End(Struct, frozen=True):
    """Event `end`: the last one of the stream. Listen again after the time of `retry`."""

    because: str
