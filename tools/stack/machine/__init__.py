"""What the local stack checks and uses on its machine: ports, disk, limits, Java, environment variables."""
