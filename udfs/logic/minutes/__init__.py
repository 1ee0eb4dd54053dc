"""Counts of minutes, open and closed, and how they are packed on their way between stages."""
