"""Programs around the product: operators' commands, the local stack, the load generator, recounts."""
