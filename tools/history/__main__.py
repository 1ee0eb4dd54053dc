"""`python -m tools.history` is the same as `python -m tools.ops history`. Error texts of `udfs` name it."""

from tools.ops.history import app

app(prog_name="python -m tools.history")
