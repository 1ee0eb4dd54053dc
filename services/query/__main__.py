"""`python -m services.query`: the query service, set by VIEW_COUNTS_* variables."""

from services.query.app import build_app
from services.server import serve
from settings import Settings


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings()
    serve(
        build_app(settings),
        host=settings.query.host,
        port=settings.query.port,
        keep_alive_s=settings.query.keep_alive_s,
    )


if __name__ == "__main__":
    main()
