"""What can be asked about one video."""

from services.openapi import Answer, Operation, Parameter
from services.query.api.answers.kinds import SeriesByKind, VideoKinds
from services.query.api.answers.videos import DayHistory, Series, VideoViews
from services.query.api.operations.shared import KIND, KINDS, REFUSALS, TO, TRUST, VIDEO, choice
from services.query.api.parameters.series import DEFAULT_GRANULARITY, GRANULARITIES

VIEWS = Operation(
    "/v1/videos/{video_id}/views",
    "The total of one video; 0 for one that nobody has viewed.",
    Answer("The total.", (VideoViews, VideoKinds), headers=TRUST),
    REFUSALS,
    (VIDEO, KINDS),
    rows="",
)
SERIES = Operation(
    "/v1/videos/{video_id}/series",
    "Views of one video by the minute, hour, day, week or month they were viewed in, without gaps.",
    Answer("The points in order.", (Series, SeriesByKind), headers=TRUST),
    REFUSALS,
    (
        VIDEO,
        KINDS,
        Parameter(
            "granularity",
            '"minute" (by default), "hour", "day", "week" or "month".',
            choice(GRANULARITIES, default=DEFAULT_GRANULARITY),
        ),
        Parameter(
            "from",
            "RFC 3339 or ms since 1970. By default it is an hour before `to` for minutes, a day for hours, 30 days for "
            "days, 12 weeks for weeks, and 365 days for months.",
        ),
        TO,
        Parameter(
            "zone",
            "A zone of the IANA database: points are those of its clock. An hour begins when the clock shows a full "
            "hour or changes, a day at midnight there, so that it has 23 or 25 hours where clocks change. UTC by "
            "default.",
            {"type": "string", "examples": ["Europe/Berlin", "Asia/Kathmandu"]},
        ),
        Parameter(
            "week_start",
            "With granularity=week: the day with which weeks begin, such as sunday. By default it is monday, as in ISO "
            "8601.",
            {"type": "string", "examples": ["sunday", "saturday"]},
        ),
    ),
    description="Views may be of any age. Minutes of the last week and hours of the last 14 weeks come from Cassandra, "
    "older ones from history in the object store. Late events are in what history has counted: in complete hours and "
    "longer points, and in minutes that come from history. If history cannot be read, points that need it are "
    "null, `degraded` says why, and the answer is 503 if that is all of them.",
    rows="points",
)
HISTORY = Operation(
    "/v1/videos/{video_id}/history",
    "How the views of a day and the marked views among them have changed, for a video with marked views.",
    Answer("Every change, the oldest first; none if no view of the day was ever marked.", (DayHistory,), headers=TRUST),
    REFUSALS,
    (VIDEO, KIND, Parameter("day", "The day (UTC), such as 2026-01-31.", required=True)),
    rows="changes",
)
