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


@pytest.mark.parametrize("options", [(), ("-u",)])
@pytest.mark.parametrize("target", ["/dev/full", "a cut pipe"])
def test_output_that_cannot_be_written_changes_no_status(target: str, options: tuple[str, ...]) -> None:
    code = f"import sys; {PRINTED}; [print('more' * 999, flush=True) for _ in range(40)]; sys.exit(3)"
    with subprocess.Popen(
        [sys.executable, *options, "-c", code],
        stdout=open(target, "wb") if target == "/dev/full" else subprocess.PIPE,  # noqa: PTH123
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdout:
            process.stdout.close()
        said = process.stderr.read() if process.stderr else ""
        full = "landshift: standard output cannot be written: No space left on device\n"
        assert (process.wait(), said) == (3, full if target == "/dev/full" else "")


def test_where_no_stream_can_be_written_the_status_stays_too() -> None:
    command = f'{sys.executable} -c "$CODE" >/dev/full 2>/dev/full'
    done = subprocess.run(["bash", "-c", command], env={**os.environ, "CODE": f"{PRINTED}; exit(3)"}, check=False)
    assert done.returncode == 3
