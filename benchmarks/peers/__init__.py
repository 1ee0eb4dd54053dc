"""Programs of other makes that do the work of a part of the product, each as a normal developer would write it.

`go` and `load` are Go modules: a peer of ingest, and the tool that sends bodies and questions to services.
benchmarks/measuring/go_programs.py builds them into .local.
"""
