"""The query service: counts out of Cassandra over HTTP, each answer saying how far it is complete."""
