"""Makes the newest version of the browser script of its source, and notes the hashes of both."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import msgspec

from schemas import browser_script
from schemas.browser_script import Made

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Where npm has put terser, if somebody has made the script here.
INSTALLED = ROOT / ".local" / "minify"
TERSER = INSTALLED / "node_modules" / ".bin" / "terser"
OPTIONS = ("--ecma", "2020", "--compress", "passes=3,unsafe_arrows", "--mangle")


def install() -> None:
    """Install terser as the lock file says. Without Node it raises FileNotFoundError."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, INSTALLED)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=INSTALLED, check=True)


def is_installed() -> bool:
    """Whether the script can be made here now, by the version that the lock file names."""
    lock = "package-lock.json"
    is_same = (INSTALLED / lock).is_file() and (INSTALLED / lock).read_bytes() == (HERE / lock).read_bytes()
    return is_same and TERSER.exists() and shutil.which("node") is not None


def minified(source: bytes) -> bytes:
    """The same script, small. terser must be installed."""
    return subprocess.run([TERSER, *OPTIONS], input=source, capture_output=True, check=True).stdout


def make() -> Path:
    """Make the newest version, and return its file."""
    source = browser_script.source()
    made = minified(source)
    folder = ROOT / "schemas" / "browser"
    file = folder / f"{browser_script.VERSION}.js"
    file.write_bytes(made)
    found = browser_script.record() if (folder / browser_script.RECORD).exists() else {}
    found[browser_script.VERSION] = Made(*(hashlib.sha256(text).hexdigest() for text in (source, made)))
    record = msgspec.json.format(msgspec.json.encode(found), indent=1)
    (folder / browser_script.RECORD).write_bytes(record + b"\n")
    return file
