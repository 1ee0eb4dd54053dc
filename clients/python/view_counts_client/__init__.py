"""Sends views to View counts, so that each is counted once, whatever fails on the way.

client = Client("https://views.example.com", key="vc_write_...")
client.view("video-1", viewer_id="viewer-7")
"""

from view_counts_client.aio import AsyncClient
from view_counts_client.answers import Refusal
from view_counts_client.client import Client, ClosedError, QueueFullError, SpoolError
from view_counts_client.endpoints import State
from view_counts_client.happenings import (
    Counts,
    Delivered,
    Dropped,
    EndpointChanged,
    Expired,
    Happening,
    Listener,
    Refused,
    Retrying,
)
from view_counts_client.options import Options
from view_counts_client.sender import Remaining
from view_counts_client.version import VERSION

__all__ = [
    "VERSION",
    "AsyncClient",
    "Client",
    "ClosedError",
    "Counts",
    "Delivered",
    "Dropped",
    "EndpointChanged",
    "Expired",
    "Happening",
    "Listener",
    "Options",
    "QueueFullError",
    "Refusal",
    "Refused",
    "Remaining",
    "Retrying",
    "SpoolError",
    "State",
]
