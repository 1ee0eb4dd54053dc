"""Live answers: who listens, one reader for all of them, and server-sent events."""
