"""Answers requests: reads the parameters, asks the store, and puts the result into a struct."""
