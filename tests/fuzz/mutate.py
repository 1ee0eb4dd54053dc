"""`python -m tests.fuzz.mutate DECODER --seconds N --folder FOLDER`: atheris looks for what a decoder cannot bear.

What it finds is written to the folder, and so is every input that reached new code. The process ends with another exit
code than 0 if it has found anything: an error, an input that takes 10 s, or more than 1 GiB of memory.
"""

import argparse
import shutil
import sys
from pathlib import Path

import atheris

# Coverage is counted in these. Numba must compile its kernels from code that nobody has changed, so no package that
# has kernels is among them.
INSTRUMENTED = ["services.ingest", "services.access", "schemas", "fastavro._read_py", "fastavro.io"]
INPUT_BYTES_MAX = 1 << 12
INPUT_S_MAX = 10
MEMORY_MIB_MAX = 1024


def main(arguments: list[str]) -> None:
    """Look until the time is over, or something is found. Does not return."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decoder")
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args(arguments)
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.decoders import DECODERS
    decoder = DECODERS[asked.decoder]
    inputs = asked.folder / "inputs"
    shutil.rmtree(inputs, ignore_errors=True)
    inputs.mkdir(parents=True)
    for number, seed in enumerate(decoder.seeds()):
        (inputs / f"seed-{number}").write_bytes(seed)
        # Compiles the kernels before any input is timed.
        decoder.check(seed)
    options = (
        f"-max_total_time={asked.seconds}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-timeout={INPUT_S_MAX}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}",
        f"-artifact_prefix={asked.folder}/found-",
    )
    atheris.Setup([sys.argv[0], *options, str(inputs)], decoder.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
