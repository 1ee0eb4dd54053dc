"""Reads from Cassandra and from compacted topics. Knows no Flink."""
