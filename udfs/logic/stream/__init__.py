"""The rules of the count job: time and lateness, the block list, deduplication, windows and the ledger."""
