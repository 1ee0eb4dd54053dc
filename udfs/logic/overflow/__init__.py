"""Rules of overflow: what its objects are, what a drainer writes of them, and how far answers are then complete."""
