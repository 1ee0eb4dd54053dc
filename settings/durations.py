"""Spans of time in ms, for settings, contracts, rules and services alike. Imports nothing."""

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
