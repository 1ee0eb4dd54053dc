"""The data contracts: Avro schemas and their versions, CQL tables, topics, names and limits. No Flink, no network."""
