"""`python -m tools.minify`: makes the browser script of its source."""

import gzip
import sys

from tools.minify.making import install, is_installed, make


def main() -> None:
    """Install terser if it is not there, and make the script."""
    if not is_installed():
        install()
    file = make()
    size = len(gzip.compress(file.read_bytes(), 9, mtime=0))
    sys.stdout.write(f"{file.name}: {size} bytes in gzip\n")


if __name__ == "__main__":
    main()
