"""The reading part of the query service: reads Cassandra and the files of history, and computes the numbers."""
