"""The command line of the local stack: `python -m tools.cli`, or `bin/vc`.

It turns arguments into calls of tools.stack, and results into text. It also has the operators' commands of tools.ops,
which then use the local stack.

Each command imports what it needs only when it runs, so that the other commands start sooner.
"""

from tools.cli.app import app, main

__all__ = ["app", "main"]
