"""The operators' program: `python -m tools.ops`, for whoever looks after the product in production.

It works against any cluster and needs nothing but settings (VIEW_COUNTS_* variables). It knows no local stack;
`bin/vc` has the same commands and sets these variables to those of the local stack first.

Each command imports what it needs when it runs, so that `--help` answers at once.
"""
