"""The ingest service: view events over HTTP into Kafka, acknowledged only when Kafka has them."""
