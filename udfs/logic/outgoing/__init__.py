"""What leaves the count job, as bytes: counts with the metadata of videos, for Cassandra and for Kafka."""
