"""How bytes and numbers are kept in memory: hashes, tables, budgets. Nothing here knows what an event is."""
