"""docs/cli.md says what the commands say."""

import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "cli.md"


def test_the_page_is_that_of_the_commands():
    command = [sys.executable, "-m", "benchmark.cli.reference"]
    made = subprocess.run(command, cwd=PAGE.parents[1], capture_output=True, text=True, check=True).stdout
    assert made == PAGE.read_text(encoding="utf-8"), "make docs writes it again"
    assert made.count("\n## landshift") > 20
