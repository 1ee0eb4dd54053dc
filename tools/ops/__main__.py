"""`python -m tools.ops`."""

from tools.ops.app import main

main()
