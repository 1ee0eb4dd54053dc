"""What can be asked about many videos at once."""

from services.openapi import JSON, Answer, Body, Operation
from services.query.api.answers.batch import BatchViews
from services.query.api.operations.shared import REFUSALS, TRUST, refusal
from services.query.api.parameters.batch import BODY_BYTES_MAX, VIDEOS_MAX, BatchBody

BATCH = Operation(
    "/v1/videos:batchGet",
    f"The totals of up to {VIDEOS_MAX} videos, and their sum; 0 for a video that nobody has viewed.",
    Answer("The totals, in the order of the request.", (BatchViews,), headers=TRUST),
    {
        **REFUSALS,
        400: refusal("The body is no JSON, or there is a secret key in the address."),
        408: refusal("The body came too slowly."),
        413: refusal(f"The body is larger than {BODY_BYTES_MAX} bytes."),
        415: refusal(f"The content type is not {JSON}."),
    },
    bodies=(
        Body(
            JSON,
            "the videos and kinds",
            BatchBody,
            {"video_ids": ["A", "B"], "kind": ["view", "like"], "sum": True},
        ),
    ),
    description="All totals come from the same state of history. There is no GET of it, since so many names are longer "
    "than addresses may be.",
    method="POST",
    rows="videos",
)
