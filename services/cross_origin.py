"""CORS: which pages of other origins may call a service. It keeps order among pages, and is no protection."""

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from settings import AccessSettings

# How long a browser remembers the answer to a preflight request.
PREFLIGHT_S = 7200
HEADERS = (
    "Authorization",
    "Content-Type",
    "Content-Encoding",
    "Idempotency-Key",
    "Batch-Ids",
    "If-None-Match",
    "X-Request-Id",
)
EXPOSED = (
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "Batch-Ids",
    "View-Counts-Status",
    "View-Counts-Audit",
    "View-Counts-Age",
    "View-Counts-Degraded",
    "X-Request-Id",
    "ETag",
    "View-Counts-Complete-Through",
    "View-Counts-Arrivals-Through",
    "View-Counts-Late-Through",
    "View-Counts-History-Revision",
    "View-Counts-Waiting",
    "View-Counts-Missing",
    "View-Counts-Not-Counted",
    "View-Counts-Kinds-Left-Out",
    "View-Counts-Exact",
    "View-Counts-Index-Complete",
)


def cross_origin(settings: AccessSettings) -> list[Middleware]:
    """The middleware of a service's public application."""
    origins = [origin.strip() for origin in settings.origins.split(",") if origin.strip()]
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=HEADERS,
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_S,
        )
    ]
