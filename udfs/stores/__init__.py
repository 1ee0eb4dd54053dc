"""The object store and the register of history, read and written. Knows no Flink."""
