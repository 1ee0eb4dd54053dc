"""What benchmarks send, and what must come of it."""
