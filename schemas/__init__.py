"""The data contracts: Avro schemas and their versions, CQL tables, topics. Knows no Flink and no network."""
