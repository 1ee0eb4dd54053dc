"""How something is measured, and how a result is kept and shown."""
