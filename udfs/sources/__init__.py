"""What the batch layer reads: knows the object store, and no Flink."""
