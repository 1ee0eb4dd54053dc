"""The query service: answers counts over HTTP. Each answer says how far it is complete."""
