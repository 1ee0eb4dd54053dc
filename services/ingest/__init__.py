"""The ingest service: takes view events over HTTP, writes them to Kafka, and answers when Kafka has them."""
