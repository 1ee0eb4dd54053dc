"""Benchmarks: throughput of the count job beside what else Flink offers, and freshness."""
