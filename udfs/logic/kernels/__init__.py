"""How bytes and numbers are kept in memory: hashes, tables, budgets. Knows no event; the rooms above build on it."""
