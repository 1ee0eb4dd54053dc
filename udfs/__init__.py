"""The counting: rules in `logic`, their Flink shells in `operators`."""
