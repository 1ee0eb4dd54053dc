"""`python -m services.query`: the query service, set by VIEW_COUNTS_* variables."""

from services.query.app import build_service
from services.server import serve
from settings import Settings


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings()
    serve(build_service(settings), settings.query)


if __name__ == "__main__":
    main()
