"""Where a run trains: what options go together, and what they become."""

import pytest
import torch

from benchmark.cli import engines
from benchmark.cli.app import main, make_parser
from benchmark.cli.settings import number_of_workers
from benchmark.common.errors import SettingsError


def _made(*options: str):
    words = ["run", "world-leave-times-out", *options, "--results", "/nonexistent"]  # whatever lies in this folder
    return engines.make_engine(make_parser().parse_args(words))


@pytest.fixture
def slurm(monkeypatch):
    """As if submitit and Slurm were installed."""
    monkeypatch.setattr("benchmark.experiments.slurm.check_installed", lambda: None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detach"], "--detach is for --engine slurm"),
        (["--profile", "x.toml"], "--profile is for --engine slurm"),
        (["--runs-per-device", "2", "--workers", "2"], "--runs-per-device one for each device"),
        (["--engine", "slurm", "--workers", "2"], "--workers is for --engine local"),
        (["--engine", "slurm", "--profile", "none.toml"], "none.toml cannot be read"),
    ],
)
def test_what_does_not_go_together_is_told(slurm, options, message):
    with pytest.raises(SettingsError, match=message):
        _made(*options)


def test_runs_per_device_of_the_command_replaces_that_of_the_profile(slurm, tmp_path):
    profile = tmp_path / "cluster.toml"
    profile.write_text('gpus = "a100:1"\nruns_per_device = 2')
    assert _made("--engine", "slurm", "--profile", str(profile))._profile.runs_per_device == 2
    made = _made("--engine", "slurm", "--profile", str(profile), "--runs-per-device", "3")._profile
    assert (made.runs_per_device, made.gpus) == (3, "a100:1")


def test_without_slurm_the_missing_commands_are_named(monkeypatch, capsys):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["run", "world-leave-times-out", "--engine", "slurm"]) == 1
    assert "this machine has no sbatch, squeue, srun, scontrol" in capsys.readouterr().err


def test_runs_per_device_are_workers_spread_over_the_gpus(monkeypatch):
    monkeypatch.setattr("benchmark.experiments.fork_server.start_server", lambda: None)
    assert (_made("--runs-per-device", "3")._workers, _made("--runs-per-device", "3")._gpus) == (3, [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    engine = _made("--runs-per-device", "3")
    assert (engine._workers, engine._gpus) == (6, ["0", "1"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert _made("--runs-per-device", "1")._gpus == ["5", "7"]
    assert _made("--runs-per-device", "2", "--accelerator", "cpu")._workers == 2
    assert _made("--workers", "4")._gpus == []  # as ever: all see all


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    assert "--engine slurm --profile cluster.toml" in text and "the same command takes them up again" in text


def test_no_worker_is_prepared_for_a_repeated_command_whose_jobs_are_done(results, add_run, monkeypatch):
    """Another command, or a job that is not done, may have something for it to do."""
    started = []
    monkeypatch.setattr("benchmark.experiments.fork_server.start_server", lambda: started.append(True))
    words = ["run", "world-leave-times-out", "--workers", "2", "--results", str(results.folder)]
    options = make_parser().parse_args(words)
    options.command_line = "landshift run world-leave-times-out"

    def starts():
        started.clear()
        number_of_workers(options)
        return bool(started)

    assert starts()
    calls = {"calls": [["2026-01-02 03:04", options.command_line, ["source-only"]]]}
    results.database.edit("world-leave-times-out-v2", "comparison/key", lambda old: calls)
    add_run(results, "world-leave-times-out-v2", "a" * 16, {"method": "source-only"})
    assert not starts()
    options.command_line += " --seeds 0,1"
    assert starts()
    options.command_line = "landshift run world-leave-times-out"
    add_run(results, "world-leave-times-out-v2", "b" * 16, {"method": "source-only"}, "failed", error="wrong")
    assert starts()
