"""The most viewed videos of a span, by kind."""
