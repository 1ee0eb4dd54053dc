"""What of the query service reads: rows of Cassandra, history's files, and the numbers that answer a question."""
