"""What fresh Kafka, Cassandra and buckets get first: `python -m tools.stack.provision WHAT`.

WHAT is "topics", "tables" or "lifecycle". A program of its own, because settings are read from the environment, and
that of a stack is not the one of the process which starts it. Idempotent: it runs at every start, so that a newer clone
brings older data up to date.
"""

import sys

from settings import Settings


def topics() -> None:
    """Create the topics that are missing."""
    from connectors.kafka_admin import ensure_topics  # noqa: PLC0415 - each half needs one client library

    settings = Settings()
    ensure_topics(settings.kafka.bootstrap_servers, settings)


def tables() -> None:
    """Apply the CQL migrations that have not been applied."""
    from connectors.cassandra import migrate  # noqa: PLC0415 - each half needs one client library

    cassandra = Settings().cassandra
    migrate(cassandra.contact_points, cassandra.port, cassandra)


def lifecycle() -> None:
    """Withdraw the rule of the bucket by which raw events left before the rollup removed them."""
    from tools.stack.lifecycle import withdraw_old_rule  # noqa: PLC0415 - as above, none of the others' business

    withdraw_old_rule(Settings())


if __name__ == "__main__":
    {"topics": topics, "tables": tables, "lifecycle": lifecycle}[sys.argv[1]]()
