"""What the job writes to, without Flink: Cassandra rows, from the rules' own bytes."""
