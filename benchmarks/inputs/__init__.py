"""The events that benchmarks send, and the counts that they must have."""
