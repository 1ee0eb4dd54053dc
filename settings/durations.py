"""Spans of time in ms and in minutes, for all packages. Imports nothing."""

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MINUTES_PER_HOUR = 60
MINUTES_PER_DAY = 1440
