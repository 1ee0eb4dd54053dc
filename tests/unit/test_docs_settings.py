"""docs/settings.md is what settings/groups say today."""

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
def test_the_page_of_settings_is_up_to_date() -> None:
    made = subprocess.run(
        [sys.executable, str(DOCS / "make_settings.py")], capture_output=True, text=True, check=True
    ).stdout
    assert (DOCS / "settings.md").read_text() == made, (
        "settings have changed: run .local/venv/bin/python docs/make_settings.py > docs/settings.md"
    )
