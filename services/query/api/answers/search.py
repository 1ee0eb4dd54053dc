"""What a search has found."""

from typing import Annotated

from msgspec import Meta, Struct

from services.query.api.answers.about import Time


class FoundVideo(Struct, frozen=True):
    """A video and its metadata."""

    video_id: str
    title: str
    channel_id: str
    channel_name: str
    created_at: Time


class SearchIndex(Struct, frozen=True):
    """How complete the index is in which was searched."""

    complete: Annotated[bool, Meta(description="Whether it has all videos whose metadata was published.")]
    because: Annotated[str | None, Meta(description="Why it is not complete.")]
    complete_at: Annotated[Time | None, Meta(description="When it was complete last. Null if it never was.")]
    videos: Annotated[int, Meta(description="How many videos it has.")]


class Search(Struct, frozen=True):
    """Videos whose id begins with the text, then those whose title does, then those with its words in the title."""

    videos: list[FoundVideo]
    index: SearchIndex
