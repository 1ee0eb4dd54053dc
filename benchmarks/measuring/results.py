"""Keeps results as JSON in benchmarks/results, and prints them as the last line of the output."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "results"


def keep(name: str, result: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Write the result as <date>-<name>.json, with a number if there is one already. Returns the path."""
    folder.mkdir(exist_ok=True)
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    path = folder / f"{day}-{name}.json"
    number = 2
    while path.exists():
        path = folder / f"{day}-{name}-{number}.json"
        number += 1
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def publish(name: str, result: dict[str, Any], *, is_kept: bool) -> None:
    """Keep the result if `is_kept`, and print where. Then print the result on one line, for programs."""
    if is_kept:
        print(f"kept in {keep(name, result)}")
    print(json.dumps(result, ensure_ascii=False, separators=(",", ":")), flush=True)
