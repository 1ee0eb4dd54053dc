"""The count job with a state TTL that a test can outlive; the settings refuse one so short."""

from unittest.mock import patch

from settings import Settings

STATE_TTL_MS = 2_000


def settings() -> Settings:
    """The settings of the environment but for the TTL; copying them does not check them."""
    whole = Settings()
    rules = whole.counting.model_copy(update={"state_ttl_ms": STATE_TTL_MS})
    return whole.model_copy(update={"counting": rules})


if __name__ == "__main__":
    from jobs import view_counts

    with patch.object(view_counts, "settings_or_exit", settings):
        view_counts.main()
