"""Benchmarks: throughput of the jobs, compared with other programs, freshness, memory and recovery."""
