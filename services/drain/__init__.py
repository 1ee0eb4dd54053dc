"""The drainers: they bring what ingest has stored in overflow to Kafka, and delete it when it is counted."""
