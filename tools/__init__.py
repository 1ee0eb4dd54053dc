"""Programs around the product: the command line, the local stack, load, recounts."""
