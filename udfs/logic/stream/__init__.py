"""The rules of the count job: time and lateness, the block list, deduplication, then windows and their ledger."""
