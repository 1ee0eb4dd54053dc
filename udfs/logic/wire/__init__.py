"""What comes in, read without trust: records of topics, container files of the archive."""
