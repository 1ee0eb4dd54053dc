"""Limits of events and bytes for each caller: the arithmetic, what processes share in Redis, and what each leases."""
