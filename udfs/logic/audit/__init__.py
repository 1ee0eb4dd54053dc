"""What an audit compares: minutes, sums, the ledger and the tallies of producers."""
