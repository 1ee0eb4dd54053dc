"""The command line of the local stack: `python -m tools.cli`, or `bin/vc`.

It turns arguments into calls of tools.stack, and results into text. The commands of operators are those of tools.ops;
here they are pointed at the local stack first.

Each command imports what it needs when it runs, so that the others answer sooner.
"""

from tools.cli.app import app, main

__all__ = ["app", "main"]
