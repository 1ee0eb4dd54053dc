"""Writes to Cassandra and Kafka, and handles writes that are refused. Knows no Flink."""
