"""How long the texts of an event and of a video's metadata may be, in bytes of UTF-8. Imports nothing.

These check the limits: ingest, the count job, the reader of the block list, the reader of the metadata topic, and the
query service. The independent recount (tools/recount/rules.py) has its own numbers, and a test compares them. A kind
and a video_id together have at most 255 bytes, since the length of a cell's key is one byte.
"""

VIDEO_ID_BYTES_MAX = 64
# The limit for what a client sends. Its events have a UUID in its place.
EVENT_ID_BYTES_MAX = 128
# The limit for what a client sends. The kind of blocked events is longer by schemas.kinds.BLOCKED_PREFIX.
KIND_BYTES_MAX = 32
VIEWER_ID_BYTES_MAX = 64
COUNTRY_BYTES_MAX = 64
DEVICE_BYTES_MAX = 64
# The limit for title, channel and time of creation of a video together, in Avro. So no channel_id is longer.
ABOUT_BYTES_MAX = 4096
