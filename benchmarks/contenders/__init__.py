"""The jobs that are compared, one script each, for `flink run -py`. Only these reach pyflink."""
