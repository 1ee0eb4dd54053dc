"""The Flink jobs. Each module has a function that builds the job's graph, and a thin `main` for `flink run`."""
