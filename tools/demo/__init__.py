"""What `make run` shows: traffic over HTTP, and a live table of what becomes of it.

It stands where a client and an operator stand: it sends to ingest, asks the query service, and reads the ledger
and the topic's end. It must not know how the job counts.
"""

from tools.demo.dashboard import Demo, DemoOptions

__all__ = ["Demo", "DemoOptions"]
