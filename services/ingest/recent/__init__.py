"""What became of the last events of each key: notes in memory, what is shown of them, and what processes share."""
