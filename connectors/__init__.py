"""What joins the product to other systems: Kafka, Cassandra, S3. Only the flink_* modules import Flink."""
