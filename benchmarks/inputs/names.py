"""Names that a contender and the harness share. Knows neither Flink nor Kafka."""

COUNTED_GAUGE = "benchmarkCounted"
