"""What joins the product to other systems: Kafka, Cassandra, S3. Only *_flink modules may import pyflink."""
