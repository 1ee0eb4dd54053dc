"""`python -m services.ingest`: the ingest service, set by VIEW_COUNTS_* variables."""

from services.ingest.app import build_service
from services.server import serve
from settings import Settings


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings()
    serve(build_service(settings), settings.ingest)


if __name__ == "__main__":
    main()
