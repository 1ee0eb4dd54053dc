"""The browser script by its version, and its hash. A version that was released never changes, because pages name it.

`python -m tools.minify` makes the newest one of `browser/source.js`.
"""

import base64
import hashlib
from functools import cache
from importlib.resources import files

import msgspec

# The newest one. A change of the source after a release of the product begins another one.
VERSION = 1
VERSIONS = tuple(range(1, VERSION + 1))
SOURCE = "source.js"
RECORD = "made.json"
_FOLDER = files("schemas") / "browser"


class Made(msgspec.Struct):
    """What a version was made of, and what was made: SHA-256 in hex."""

    source: str
    made: str


@cache
def script(version: int = VERSION) -> bytes:
    """What browsers load. Raises FileNotFoundError for a version that there is not."""
    return (_FOLDER / f"{version}.js").read_bytes()


def source() -> bytes:
    """What people read."""
    return (_FOLDER / SOURCE).read_bytes()


def record() -> dict[int, Made]:
    """How each version was made."""
    return msgspec.json.decode((_FOLDER / RECORD).read_bytes(), type=dict[int, Made])


@cache
def integrity(version: int = VERSION) -> str:
    """The value of the attribute `integrity`, by which a browser runs no other file than this one."""
    return f"sha384-{base64.b64encode(hashlib.sha384(script(version)).digest()).decode()}"


def versioned(path: str, version: int = VERSION) -> str:
    """The path of one version, such as /vc.1.js of /vc.js."""
    return f"{path.removesuffix('.js')}.{version}.js"


def tag(url: str, key: str = "", *, is_local: bool = False) -> str:
    """The tag of the newest version. `url` is where the script lies, without a version.

    A page on this machine counts only with `is_local`.
    """
    more = (f' data-key="{key}"' if key else "") + (" data-local" if is_local else "")
    return f'<script defer src="{versioned(url)}" integrity="{integrity()}" crossorigin="anonymous"{more}></script>'
