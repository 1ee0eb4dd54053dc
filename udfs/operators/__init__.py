"""Flink shells of the rules in udfs.logic, one for one: state, timers and elements, no decisions."""
