"""Flink operators. Each keeps an object of udfs.logic in step with state, timers and elements, and decides nothing."""
