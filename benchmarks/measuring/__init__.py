"""Measures runs, and keeps and shows results."""
