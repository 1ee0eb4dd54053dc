"""Counts one slice of the archive, an hour of one partition: events, late events, repeats, viewers."""
