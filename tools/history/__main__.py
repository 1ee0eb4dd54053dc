"""`python -m tools.history`: another name of `python -m tools.ops history`, which texts of `udfs` tell people to type."""

from tools.ops.history import app

app(prog_name="python -m tools.history")
