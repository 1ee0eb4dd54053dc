"""The HTTP services: ingest takes events in, query gives counts out. They know no Flink."""
