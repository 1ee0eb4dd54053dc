"""`python -m services.ingest`: the ingest service, set by VIEW_COUNTS_* variables."""

from services.ingest.app import build_app
from services.server import serve
from settings import Settings


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings()
    serve(
        build_app(settings),
        host=settings.ingest.host,
        port=settings.ingest.port,
        keep_alive_s=settings.ingest.keep_alive_s,
    )


if __name__ == "__main__":
    main()
