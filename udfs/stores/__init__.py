"""Reads and writes the object store and the register of history. Knows no Flink."""
