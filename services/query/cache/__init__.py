"""What the query service holds of stores, for how long, and within how many bytes. Knows no HTTP and no CQL."""
