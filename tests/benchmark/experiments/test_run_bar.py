"""The progress bar of a command's jobs."""

from types import SimpleNamespace

from benchmark.experiments.run_bar import RunBar


def job(identity):
    return SimpleNamespace(identity=identity, label="dann", fold="2020", seed=0)


def ended(identity, **how):
    plain = {"elsewhere": False, "pruned": False, "error": None, "miou": 0.5, "seconds": 12.0}
    return SimpleNamespace(job=job(identity), **{**plain, **how})


def test_only_ended_runs_are_counted_and_the_bar_grows_with_shares(capsys):
    with RunBar(3) as bar:
        bar.advance(job("a"), 0.7)
        bar.advance(job("b"), 0.6)
        (task,) = bar._progress.tasks
        assert task.fields["count"] == "0/3" and abs(task.completed - 1.3) < 1e-9
        bar.end(ended("a"))
        assert task.fields["count"] == "1/3" and abs(task.completed - 1.6) < 1e-9
        bar.end(ended("b", error="ValueError: no"))
        assert task.fields["count"] == "2/3" and bar.failed == 1
    text = capsys.readouterr().out
    assert "[1/3] dann, 2020, seed 0: target mIoU 50.0 (12 s; about" in text and "FAILED: ValueError: no" in text
