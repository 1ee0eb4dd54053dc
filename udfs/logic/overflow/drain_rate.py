"""How fast a drainer may write. Pure: it knows no clock."""

# What is known of the frontier is up to a minute old, since shards close whole minutes.
KNOWN_LAG_MS = 60_000


def drain_rate(lag_ms: int | None, *, most: int, least: int, lag_max_ms: int) -> float:
    """Return how many events a second may be written while the count job is `lag_ms` behind, or nobody knows.

    What lies in Kafka keeps its time, so that a job that is behind is no danger to a count. But new events would become
    visible later the more old ones are before them.
    """
    if lag_ms is None or lag_ms <= KNOWN_LAG_MS:
        return most
    part = max(0.0, 1 - (lag_ms - KNOWN_LAG_MS) / max(lag_max_ms - KNOWN_LAG_MS, 1))
    return max(least, most * part)
