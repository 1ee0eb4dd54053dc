"""Reads what comes in, and trusts none of it: records of topics, container files of the archive."""
