"""The OpenAPI descriptions of both ports."""

from services.access.operators import KEYS
from services.openapi import HEALTHZ, describe
from services.query.api.operations.audience import BREAKDOWN, VIEWERS
from services.query.api.operations.audits import AUDITS
from services.query.api.operations.badge import BADGE
from services.query.api.operations.batch import BATCH
from services.query.api.operations.channels import CHANNEL, CHANNEL_VIEWS
from services.query.api.operations.health import METRICS, READYZ
from services.query.api.operations.ledger import LEDGER
from services.query.api.operations.live import LIVE_TOP, LIVE_VIEWS
from services.query.api.operations.search import SEARCH
from services.query.api.operations.top import TOP
from services.query.api.operations.videos import HISTORY, SERIES, VIEWS

OPENAPI = describe(
    "View counts: query",
    "How often each video was viewed, in total and by the minute, hour or day; which videos are viewed most; and what "
    "became of every event. Times are UTC unless a zone is named.",
    [
        VIEWS,
        SERIES,
        HISTORY,
        BREAKDOWN,
        VIEWERS,
        LIVE_VIEWS,
        BADGE,
        BATCH,
        CHANNEL,
        CHANNEL_VIEWS,
        TOP,
        LIVE_TOP,
        SEARCH,
        LEDGER,
        AUDITS,
        HEALTHZ,
        READYZ,
    ],
)
PRIVATE_OPENAPI = describe(
    "View counts: query, private port",
    "What monitoring asks of one process. No key is needed, so only operators may reach this port.",
    [KEYS, METRICS, HEALTHZ, READYZ],
)
