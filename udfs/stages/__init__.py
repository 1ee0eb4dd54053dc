"""The stages of batch jobs, without Flink: what each does with stores, and in which order. Knows no Flink."""
