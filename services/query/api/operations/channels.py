"""What can be asked about one channel."""

from services.openapi import Answer, Operation, Parameter
from services.query.api.answers.channels import ChannelSeries
from services.query.api.operations.shared import KIND, REFUSALS, TO, TRUST, choice
from services.query.api.parameters.series import CHANNEL_GRANULARITY

CHANNEL = Operation(
    "/v1/channels/{channel_id}/series",
    "Views of a channel's videos by the hour, without gaps.",
    Answer("The points in order.", (ChannelSeries,), headers=TRUST),
    REFUSALS,
    (
        Parameter("channel_id", "The channel.", in_path=True),
        KIND,
        Parameter("granularity", "Hours.", choice([CHANNEL_GRANULARITY], default=CHANNEL_GRANULARITY)),
        Parameter("from", "RFC 3339 or ms since 1970; a day before `to` by default."),
        TO,
    ),
    description="The rollup counts complete hours, and the service answers those of the last 99 days. A video belongs "
    "to the channel that its metadata named when the hour was counted.",
    rows="points",
)
