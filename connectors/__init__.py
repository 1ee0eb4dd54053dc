"""Clients of the systems that the product uses: Kafka, Cassandra and S3. Only the flink_* modules import Flink."""
