"""The operators' program: `python -m tools.ops`, for people who operate the product.

It works against any cluster, and needs only settings (VIEW_COUNTS_* variables). It knows no local stack. `bin/vc` has
the same commands, and first sets these variables to those of the local stack.

Each command imports what it needs only when it runs, so that `--help` answers at once.
"""
