"""What is written to Cassandra and Kafka, and what happens when a write is refused. Knows no Flink."""
