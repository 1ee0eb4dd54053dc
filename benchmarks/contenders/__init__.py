"""The jobs that are compared, each a script for `flink run -py`. In benchmarks only these import pyflink."""
