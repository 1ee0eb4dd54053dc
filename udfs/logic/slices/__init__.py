"""Counts one slice of the archive: events, late events, repeats, viewers."""
