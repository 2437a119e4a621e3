"""A profile says what a task asks for; what is wrong with one is told with what is allowed."""

from pathlib import Path

import pytest

from benchmark.errors import SettingsError
from benchmark.experiments.slurm_profile import Profile, make_profile, minutes_of, read_profile

WHOLE = """
partition = "gpu"
account = "lab"
gpus = "a100:1"
cpus = 8
memory = "32G"
time = "1-12:00:00"
at_once = 4
runs_per_device = 2
attempts = 5
setup = ["module load cuda"]

[slurm]
qos = "long"
exclusive = true
"""


def test_every_key_is_read(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text(WHOLE)
    profile = read_profile(tmp_path / "cluster.toml")
    assert profile == Profile(
        partition="gpu",
        account="lab",
        gpus="a100:1",
        cpus=8,
        memory="32G",
        time="1-12:00:00",
        at_once=4,
        runs_per_device=2,
        attempts=5,
        setup=("module load cuda",),
        slurm={"qos": "long", "exclusive": True},
    )
    assert profile.minutes == 36 * 60


def test_an_empty_profile_asks_for_nothing() -> None:
    assert make_profile({}, "cluster.toml") == Profile()


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("90:30", 91), ("2:00:00", 120), ("1-0", 1440), ("1-2:30", 1590), ("1-2:30:01", 1591)],
)
def test_times_are_slurms(text: str, minutes: int) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"gpu": 1}, "cluster.toml: there is no key 'gpu'; did you mean gpus. The keys are partition, account, gpus"),
        ({"qos": "long"}, "are partition.* Further options of sbatch stand below .slurm."),
        ({"cpus": "four"}, "cpus is a whole number of at least 0, not 'four'"),
        ({"attempts": 0}, "attempts is a whole number of at least 1, not 0"),
        ({"runs_per_device": True}, "runs_per_device is a whole number of at least 1, not True"),
        ({"gpus": "many"}, "gpus is a number, or a kind and a number"),
        ({"gpus": -1}, "gpus is a whole number of at least 0, not -1"),
        ({"memory": 16}, "memory is a text, not 16"),
        ({"setup": "module load cuda"}, "setup is a list of texts"),
        ({"slurm": {"array": "0-3"}}, "array below .slurm. is set by landshift itself"),
        ({"slurm": {"job_name": "mine"}}, "job_name below .slurm. is set by landshift itself"),
        ({"slurm": {"qos": ["long"]}}, "slurm is a table of texts"),
        ({"time": "soon"}, "time is .*, not 'soon'"),
        ({"time": "1:2:3:4"}, "time is .*, not '1:2:3:4'"),
        ({"time": "0"}, "time is at least a minute"),
    ],
)
def test_what_is_wrong_is_told(content: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make_profile(content, "cluster.toml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text("gpus = ")
    for name in ("cluster.toml", "none.toml"):
        with pytest.raises(SettingsError, match=f"{name} cannot be read"):
            read_profile(tmp_path / name)
