"""How long the texts of an event and of a video's metadata may be, in bytes of UTF-8. Imports nothing.

Whoever takes events or metadata in, and whoever asks for them by name, checks these limits: ingest, the count job, the
block list, the metadata topic and the query service.
"""

VIDEO_ID_BYTES_MAX = 64
# What a client may send; the kind of blocked views is longer by schemas.kinds.BLOCKED_PREFIX.
KIND_BYTES_MAX = 32
VIEWER_ID_BYTES_MAX = 64
COUNTRY_BYTES_MAX = 64
DEVICE_BYTES_MAX = 64
# Title, channel and time of creation of a video together, as Avro writes them; so no channel_id is longer.
ABOUT_BYTES_MAX = 4096
