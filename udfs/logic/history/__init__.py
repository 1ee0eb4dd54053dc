"""The rules of history: manifest, plan of a rollup, tables, marks."""
