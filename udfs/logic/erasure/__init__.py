"""Erasures of viewers: their life, and the rewriting of raw events."""
