"""--help fits a screen a group."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_own_code import COMMANDS

ROOT = Path(__file__).parents[1]
LINES = 40


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen_a_group(command):
    environment = os.environ | {"COLUMNS": "120", "PYTHONIOENCODING": "utf-8"}
    result = subprocess.run(
        [sys.executable, str(ROOT / command), "--help"], env=environment, capture_output=True, text=True, check=True
    )
    groups = re.findall(r"^╭─ (.+?) ─+╮\n(.*?)^╰", result.stdout, re.MULTILINE | re.DOTALL)
    assert groups
    for title, text in groups:
        lines = text.splitlines()
        assert len(lines) <= LINES, f"{title}: {len(lines)} lines"
        assert max(map(len, lines)) <= 120
