"""The HTTP part of the query service: its paths, their parameters, and the answers."""
