"""What is printed never decides how a command ends."""

import os
import subprocess
import sys

import pytest

PRINTED = "from benchmark.common.output import make_output_safe; make_output_safe(); print('5 – 7 × é 水')"


@pytest.mark.parametrize(
    ("encoding", "expected"), [("ascii", "5 - 7 x ? ?"), ("latin-1", "5 - 7 × é ?"), ("utf-8", "5 – 7 × é 水")]
)
def test_letters_that_an_encoding_lacks_are_written_plainly(encoding: str, expected: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", PRINTED], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout.decode(encoding).strip(), done.stderr) == (0, expected, b"")


@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
def test_closed_streams_are_open_on_nothing(closed: tuple[int, ...], tmp_path) -> None:
    """The next file that is opened gets none of their numbers."""
    code = f"{PRINTED}; open({str(tmp_path / 'number')!r}, 'w').write(str(open({str(tmp_path / 'x')!r}, 'w').fileno()))"
    command = f'exec {sys.executable} -c "$CODE" {" ".join(f"{number}>&-" for number in closed)}'
    done = subprocess.run(["bash", "-c", command], env={**os.environ, "CODE": code}, check=False)
    assert done.returncode == 0 and int((tmp_path / "number").read_text()) > 2
