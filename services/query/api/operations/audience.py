"""What can be asked about who viewed a video, and from where."""

from services.openapi import Answer, Operation, Parameter
from services.query.api.answers.audience import Breakdown, Viewers
from services.query.api.operations.shared import KIND, REFUSALS, TRUST, VIDEO
from services.query.api.parameters.audience import BREAKDOWNS

FROM_DAY = Parameter(
    "from", "A time in the first day (UTC), RFC 3339 or ms since 1970; 30 days before `to` by default."
)
TO_DAY = Parameter("to", "A time in the last day, or its end; now by default.")
BREAKDOWN = Operation(
    "/v1/videos/{video_id}/breakdown",
    "Views of one video by country or device, over some days.",
    Answer("The parts, the most viewed first.", (Breakdown,), headers=TRUST),
    REFUSALS,
    (
        VIDEO,
        KIND,
        Parameter("by", '"country" or "device".', {"type": "string", "enum": [*BREAKDOWNS]}, required=True),
        FROM_DAY,
        TO_DAY,
    ),
    description="The rollup has counted these numbers, late events included, as far as `complete_through`. They come "
    "from history in the object store, whatever the age of the days. If it cannot be read, the answer is 503.",
    rows="parts",
)
VIEWERS = Operation(
    "/v1/videos/{video_id}/viewers",
    "How many viewers one video had on each of some days, and on all of them together.",
    Answer("The days in order.", (Viewers,), headers=TRUST),
    REFUSALS,
    (VIDEO, KIND, FROM_DAY, TO_DAY),
    description="Viewers are counted when a day is complete, exactly, and once more when no late event can be added to "
    "it any longer. Events without a viewer_id have no viewer. Who viewed on several days is one viewer of all of "
    "them: their number is estimated from sketches, with a relative standard error of 1.6%. The numbers come from "
    "history in the object store. If it cannot be read, the answer is 503.",
    rows="days",
)
