"""What can be asked about one channel."""

from services.openapi import Answer, Operation, Parameter
from services.query.api.answers.channels import ChannelSeries, ChannelViews
from services.query.api.operations.shared import KIND, REFUSALS, TO, TRUST, choice
from services.query.api.parameters.series import CHANNEL_GRANULARITIES, DEFAULT_CHANNEL_GRANULARITY

CHANNEL = Operation(
    "/v1/channels/{channel_id}/series",
    "Views of a channel's videos by the hour or day, without gaps.",
    Answer("The points in order.", (ChannelSeries,), headers=TRUST),
    REFUSALS,
    (
        Parameter("channel_id", "The channel.", in_path=True),
        KIND,
        Parameter(
            "granularity",
            '"hour" (by default) or "day", of UTC.',
            choice(CHANNEL_GRANULARITIES, default=DEFAULT_CHANNEL_GRANULARITY),
        ),
        Parameter(
            "from", "RFC 3339 or ms since 1970. By default it is a day before `to` for hours, and 30 days for days."
        ),
        TO,
    ),
    description="The rollup counts complete hours. Those of the last 99 days come from Cassandra, older ones from "
    "history in the object store. A video belongs to the channel that its metadata named when the hour was counted.",
    rows="points",
)
CHANNEL_VIEWS = Operation(
    "/v1/channels/{channel_id}",
    "The total of a channel's videos.",
    Answer("The total.", (ChannelViews,), headers=TRUST),
    REFUSALS,
    (Parameter("channel_id", "The channel.", in_path=True), KIND),
    description="It is the sum of all hours that the rollup has counted. A video belongs to the channel that its "
    "metadata named when the hour was counted. The total comes from history in the object store. If that cannot be "
    "read, the answer is 503.",
    rows="",
)
