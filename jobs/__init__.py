"""The job graphs: each a function that takes its streams and sinks, and a thin `main` for `flink run`."""
