"""The columns of the ledger. Imports nothing.

A row of the ledger says what became of the events of one salt that arrived in one minute. Every event received has
exactly one fate, so `received` is the sum of FATES. tools/recount has a list of its own on purpose.
"""

FATES = ("counted", "duplicate", "late", "invalid", "blocked", "dead_lettered")
# The columns after (minute, salt), in the order in which the count job writes them and answers have them.
LEDGER_COLUMNS = ("received", *FATES, "records", "unreadable_records", "clamped_records")
