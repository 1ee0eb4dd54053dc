"""Erasures of viewers: how they begin and end, and how raw events are rewritten."""
