"""The stages of batch jobs: what each reads, computes and writes, and in which order. Knows no Flink."""
