"""The demo of `make run`: it sends traffic over HTTP, and shows a live table of the counts.

It uses the product as a client and an operator do: it sends to ingest, asks the query service, and reads the ledger and
the topic's end. It must not know how the job counts.
"""

from tools.demo.dashboard import Demo, DemoOptions

__all__ = ["Demo", "DemoOptions"]
