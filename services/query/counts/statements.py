"""The CQL of every read, by name. Knows no session and no question."""

from schemas.ledger import LEDGER_COLUMNS

_SUMS = ", ".join(f"sum({name}) AS {name}" for name in LEDGER_COLUMNS)

# The service is not ready before all of these are prepared, because it needs all of their tables.
STATEMENTS = {
    "progress": "SELECT shard, shards, closed_through FROM progress WHERE pipeline = ?",
    "register": "SELECT path, made_at, lease, holder, manifest, kept, applied FROM history_register WHERE name = ?",
    "missing_records": (
        "SELECT first_offset, next_offset, viewed_from, viewed_to FROM missing_records WHERE pipeline = ?"
    ),
    "bases": (
        "SELECT video_id, kind, views, late_added, complete_through FROM view_totals WHERE video_id IN ? AND kind IN ?"
    ),
    "imported": "SELECT video_id, kind, views FROM imported_totals WHERE video_id IN ? AND kind IN ?",
    "imported_days": ("SELECT day, views FROM imported_days WHERE video_id = ? AND kind = ? AND day >= ? AND day <= ?"),
    "kinds": "SELECT video_id, kinds, left_out FROM video_kinds WHERE video_id IN ?",
    "imported_kinds": "SELECT video_id, kinds, left_out FROM imported_kinds WHERE video_id IN ?",
    "hours": (
        "SELECT hour, views FROM views_by_hour WHERE video_id = ? AND kind = ? AND month = ? AND hour >= ? AND hour < ?"
    ),
    "days": (
        "SELECT day, views, complete_through FROM views_by_day "
        "WHERE video_id = ? AND kind = ? AND day >= ? AND day <= ?"
    ),
    # These ask for several videos and days, because many small requests cost both sides several times as much. A sum
    # has GROUP BY, since Cassandra logs a warning for a sum over several partitions without it.
    "recent_minutes": (
        "SELECT video_id, kind, minute, views FROM views_by_minute "
        "WHERE video_id IN ? AND kind IN ? AND day IN ? AND minute >= ?"
    ),
    "minute_sums": (
        "SELECT video_id, kind, sum(views) AS views FROM views_by_minute "
        "WHERE video_id IN ? AND kind IN ? AND day IN ? AND minute >= ? AND minute < ? GROUP BY video_id, kind, day"
    ),
    "minutes": (
        "SELECT minute, views FROM views_by_minute "
        "WHERE video_id = ? AND kind = ? AND day = ? AND minute >= ? AND minute < ?"
    ),
    "ledger": f"SELECT minute, {_SUMS} FROM ledger WHERE minute IN ? GROUP BY minute",
    "newest_ledger": f"SELECT minute, {_SUMS} FROM ledger WHERE minute IN ? GROUP BY minute",
    "channel_hours": (
        "SELECT hour, views FROM channel_views_by_hour "
        "WHERE channel_id = ? AND kind = ? AND month = ? AND hour >= ? AND hour < ?"
    ),
    "marked": "SELECT day, marked FROM views_by_day WHERE video_id = ? AND kind = ? AND day >= ? AND day <= ?",
    "changes": (
        "SELECT at, views, marked, reason, rules FROM day_history "
        "WHERE video_id = ? AND kind = ? AND day = ? ORDER BY run"
    ),
}
# These read lists of top videos, and what audits found. While their tables are missing, the service answers everything
# else.
OPTIONAL_STATEMENTS = {
    # Of each hour the row of the newest audit: the first one by this order.
    "verdicts": (
        "SELECT hour, audited_at, late, wrong, repaired FROM audit_verdicts WHERE day = ? GROUP BY day, hour "
        "ORDER BY hour DESC, audited_at DESC"
    ),
    "verdicts_of_days": (
        "SELECT hour, audited_at, compared, equal, late, late_added, wrong, biggest_difference, repaired "
        "FROM audit_verdicts WHERE day IN ?"
    ),
    "findings_of_days": (
        "SELECT what, audited_at, compared, wrong, repaired, places FROM audit_findings WHERE day IN ?"
    ),
    "newest_audit": "SELECT audited_at FROM audit_findings WHERE day = ? ORDER BY audited_at DESC LIMIT 1",
    "findings": "SELECT what, wrong, repaired FROM audit_findings WHERE day = ? AND audited_at = ?",
    "top": (
        "SELECT minute, shard, videos, about FROM top_videos "
        "WHERE kind = ? AND span = ? AND hour = ? AND minute >= ? AND minute <= ?"
    ),
    "top_of_hour": (
        "SELECT hour AS start, videos FROM top_videos_by_hour "
        "WHERE kind = ? AND country = ? AND month = ? AND hour >= ? AND hour <= ? ORDER BY hour DESC LIMIT 1"
    ),
    "top_of_day": (
        "SELECT day AS start, videos, complete_through FROM top_videos_by_day "
        "WHERE kind = ? AND country = ? AND day >= ? AND day <= ? ORDER BY day DESC LIMIT 1"
    ),
}
# These are read beside requests, for monitoring and for what all answers share. No client makes them wait.
BESIDE = frozenset({"progress", "register", "missing_records", "newest_ledger", "verdicts", "newest_audit", "findings"})
