"""What can be asked about one video."""

from services.openapi import Answer, Operation, Parameter
from services.query.api.answers.videos import DayHistory, Series, VideoViews
from services.query.api.operations.shared import KIND, REFUSALS, TO, VIDEO, choice
from services.query.api.parameters.series import DEFAULT_GRANULARITY, STEPS

VIEWS = Operation(
    "/v1/videos/{video_id}/views",
    "The total of one video; 0 for one that nobody has viewed.",
    Answer("The total.", (VideoViews,)),
    REFUSALS,
    (VIDEO, KIND),
)
SERIES = Operation(
    "/v1/videos/{video_id}/series",
    "Views of one video by the minute, hour or day they were viewed in, without gaps.",
    Answer("The points in order.", (Series,)),
    REFUSALS,
    (
        VIDEO,
        KIND,
        Parameter("granularity", '"minute" (by default), "hour" or "day".', choice(STEPS, default=DEFAULT_GRANULARITY)),
        Parameter(
            "from",
            "RFC 3339 or ms since 1970. By default it is an hour before `to` for minutes, a day for hours, and 30 days "
            "for days.",
        ),
        TO,
        Parameter(
            "zone",
            "With granularity=day: days of this zone of the IANA database, from midnight to midnight there, 23 or 25 "
            "hours long where clocks change. Days of UTC by default.",
            {"type": "string", "examples": ["Europe/Berlin", "Asia/Kathmandu"]},
        ),
    ),
    description="Views may be of any age. Minutes of the last week and hours of the last 14 weeks come from Cassandra, "
    "older ones from history in the object store. Late events are in what history has counted: in complete hours and "
    "days, and in minutes that come from history. If history cannot be read, the answer is 503; an answer is never "
    "partial.",
)
HISTORY = Operation(
    "/v1/videos/{video_id}/history",
    "How the views of a day and the marked views among them have changed, for a video with marked views.",
    Answer("Every change, the oldest first; none if no view of the day was ever marked.", (DayHistory,)),
    REFUSALS,
    (VIDEO, KIND, Parameter("day", "The day (UTC), such as 2026-01-31.", required=True)),
)
