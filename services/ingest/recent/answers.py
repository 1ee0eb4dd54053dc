"""The answers of GET /v1/recent. Knows no HTTP.

The docstrings and descriptions below are part of the OpenAPI description.
"""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from services.ingest.rejections import Rejection

# How many events of a key are shown, and how many bodies that were refused as a whole.
EVENTS_MAX = 500
BODIES_MAX = 20


class Hidden(Struct, frozen=True):
    """A field that is not shown: that of the viewer, or one that no event has."""

    name: str
    bytes: Annotated[int | None, Meta(description="The size of its value as it was sent; null if it is not known.")]


class RecentEvent(Struct):
    """What became of one event. Of one that was refused, the field at fault alone is there, if it is no viewer."""

    at: Annotated[int, Meta(description="When the service took its body, in ms since 1970, by the service's clock.")]
    process: Annotated[str, Meta(description="The process that took it, as in the batches that it writes.")]
    body: Annotated[int, Meta(description="The number of its body, among those that the process took.")]
    index: Annotated[int, Meta(description="The place of the event in the body, from 0.")]
    outcome: Annotated[str, Meta(extra_json_schema={"enum": ["accepted", "refused"]})]
    event_id: Annotated[
        str | UnsetType,
        Meta(description="The UUID. If the id was another text, the one that was made of it."),
    ] = UNSET
    video_id: str | UnsetType = UNSET
    viewed_at: Annotated[int | UnsetType, Meta(description="ms since 1970, UTC")] = UNSET
    kind: str | UnsetType = UNSET
    country: str | UnsetType = UNSET
    device: str | UnsetType = UNSET
    late: Annotated[bool | UnsetType, Meta(description="Only there, and true, if a rollup adds the event later.")] = (
        UNSET
    )
    hidden: Annotated[
        list[Hidden] | UnsetType, Meta(description="The fields that are not shown, by name and size.")
    ] = UNSET
    rejected: Annotated[Rejection | UnsetType, Meta(description="Why the event was refused.")] = UNSET


class RefusedBody(Struct):
    """A body of which nothing was taken. If the next ones were refused likewise, they are counted with it."""

    at: Annotated[int, Meta(description="When the last of them was refused, in ms since 1970, by the service's clock.")]
    process: Annotated[str, Meta(description="The process that refused it.")]
    number: Annotated[int, Meta(description="Its place among those that the process refused.")]
    status: Annotated[int, Meta(description="The status of the answer.")]
    error: Annotated[str, Meta(description="Why it was refused, as the answer said it to the last of them.")]
    bytes: Annotated[int | None, Meta(description="The Content-Length of the last of them; null if it had none.")]
    times: Annotated[int, Meta(description="How many bodies were refused so, one after the other.")]


class Recent(Struct):
    """What became of the last events of a key."""

    project: str
    key: Annotated[str | None, Meta(description="The public id of the key; null in open access.")]
    process: Annotated[
        str | None,
        Meta(description="The process whose events these are alone, because Redis does not answer; null if all."),
    ]
    events: Annotated[list[RecentEvent], Meta(description=f"At most {EVENTS_MAX}, the newest first.")]
    refused: Annotated[
        list[RefusedBody],
        Meta(
            description=f"Bodies that were refused as a whole, whose events are not above: at most {BODIES_MAX}, the "
            "newest first."
        ),
    ]


class NoRecent(Struct, frozen=True):
    """Why nothing is shown."""

    error: str
