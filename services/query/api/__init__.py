"""What of the query service speaks HTTP: its paths, their parameters, and the answers."""
