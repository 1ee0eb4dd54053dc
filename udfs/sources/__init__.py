"""What is read from Cassandra and from compacted topics. Knows no Flink."""
