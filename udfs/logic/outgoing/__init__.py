"""Encodes what leaves the count job: counts and the metadata of videos, for Cassandra and for Kafka."""
