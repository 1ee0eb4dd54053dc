"""`python -m tools.history` is `python -m tools.ops history`: error texts of `udfs` tell people to type it."""

from tools.ops.history import app

app(prog_name="python -m tools.history")
