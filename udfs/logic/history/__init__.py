"""The rules of history in the object store: manifest, plan of a rollup, tables, marks."""
