"""The command line in this process: what it prints, writes and refuses."""

import errno
import signal
import subprocess
import sys
import time
from argparse import Namespace
from html import unescape
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock, Timeout

from benchmark.cli import report
from benchmark.cli.app import COMMANDS, _unraisable, main, make_parser
from benchmark.cli.reported import Printed
from benchmark.cli.settings import make_plan
from benchmark.cli.world import prepare
from benchmark.experiments import pixels
from benchmark.experiments.request import keys
from benchmark.experiments.results import ResultsFolder
from benchmark.experiments.session import Session
from methods.base import Method

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied")
REPOSITORY = Path(__file__).resolve().parents[3]


def _words(plan, tmp_path, *more):
    options = ["--data", str(plan.data), "--results", str(tmp_path), "--stores", str(plan.stores), "--workers", "1"]
    small = ["--steps", "2", "--checkpoints", "1", "--batch-size", "2", "--accelerator", "cpu"]
    return ["run", plan.protocol, *options, *small, *more]


def _run(*arguments):
    return main(_words(*arguments))


@pytest.fixture(scope="module")
def plan(world, protocol_file, stores):
    return Namespace(data=world, protocol=str(protocol_file), stores=stores)


def test_run_trains_compares_and_does_nothing_the_second_time(plan, tmp_path, capsys, monkeypatch):
    arguments = ["--method", "source-only", "--method", "oracle", "--folds", "2020", "--seeds", "0,1"]
    assert _run(plan, tmp_path, *arguments) == 0
    first = capsys.readouterr().out
    assert "4 runs, 0 done before, 0 skipped, 4 to do" in first and "[4/4] oracle, 2020, seed 1: target mIoU" in first
    assert "oracle (bound)" in first
    written = {path.name for path in (tmp_path / "tiny-v1").iterdir()}
    comparison = {f"comparison.{kind}" for kind in ("html", "json", "md", "png", "tex")}
    assert written == {"cells.csv", "classes.png", "costs.png"} | comparison
    assert _run(plan, tmp_path, *arguments) == 0
    assert "4 done before, 0 skipped, 0 to do" in capsys.readouterr().out
    assert main(["report", plan.protocol, "--results", str(tmp_path), "--output", str(tmp_path / "elsewhere")]) == 0
    assert "| source-only |" in (tmp_path / "elsewhere" / "comparison.md").read_text()
    page = unescape((tmp_path / "tiny-v1" / "comparison.html").read_text())
    command = f"<code>landshift run {plan.protocol} --data {plan.data} --preset tiny --steps 2 --batch-size 2 "
    assert f"{command}--checkpoints 1 --method source-only --method oracle --folds 2020 --seeds 0,1</code>" in page

    monkeypatch.setattr("benchmark.reporting.table_file.as_json", _full)
    assert main(["report", plan.protocol, "--results", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "landshift: [Errno 28] No space left on device: 'comparison.json'\n"


def _full(state):
    raise OSError(errno.ENOSPC, "No space left on device", "comparison.json")


@pytest.fixture
def claim(plan, tmp_path):
    """Another command trains source-only."""
    session = Session(make_plan(make_parser().parse_args(_words(plan, tmp_path))))
    session.add(session.bench.jobs(["source-only"], [0], ["2020"]), again=True)
    return session.results.queue.claim("elsewhere/0")


TWO = ["--method", "source-only", "--method", "oracle", "--folds", "2020"]


def test_without_waiting_the_table_has_a_gap_where_another_command_trains(plan, tmp_path, claim, capsys):
    assert _run(plan, tmp_path, *TWO, "--no-wait") == 0
    told = capsys.readouterr().out
    assert "2 runs, 0 done before, 1 running elsewhere, 0 skipped, 1 to do" in told
    assert "[1/2] oracle, 2020, seed 0: target mIoU" in told and "1 runs are left to other commands" in told
    (row,) = ResultsFolder(tmp_path).queue.rows(keys=[claim.key])
    assert row.state == "running" and row.worker == "elsewhere/0"


@pytest.mark.parametrize("end", ["release", "finish"])
def test_the_end_of_what_another_command_trains_is_waited_for(plan, tmp_path, claim, end, capsys, monkeypatch):
    """What it leaves behind is trained."""
    queue = ResultsFolder(tmp_path).queue

    def sleep(seconds):
        if {state for state, _ in queue.states().values()} == {"done", "running"}:
            arguments = ["stopped"] if end == "release" else [claim.facts, {}, {"target/miou": 0.5}]
            getattr(queue, end)(claim, *arguments)

    monkeypatch.setattr("benchmark.experiments.worker.time.sleep", sleep)
    monkeypatch.setattr("benchmark.cli.run.report", lambda options: 0)
    assert _run(plan, tmp_path, *TWO) == 0
    told = capsys.readouterr().out
    assert "1 of these runs are being trained by other commands" in told
    last = "target mIoU" if end == "release" else "trained by another command"
    assert f"[2/2] source-only, 2020, seed 0: {last}" in told and "are left to other commands" not in told
    assert {state for state, _ in queue.states().values()} == {"done"}


def test_one_report_is_written_at_a_time(plan, results, monkeypatch):
    """It then has seen what the one before it has seen."""
    results.describe("tiny-v1", "", {})
    written = []

    def write(options, artist, protocol, results, inputs):
        with pytest.raises(Timeout):
            FileLock(results.folder / "report.lock").acquire(timeout=0)
        written.append(protocol.label)
        return Printed("", [], "", "", "", [], [], "")

    monkeypatch.setattr(report, "_write", write)
    assert main(["report", plan.protocol, "--results", str(results.folder), "--comparison", "any"]) == 0
    assert written == ["tiny-v1"]


def test_a_report_needs_neither_torch_nor_pandas_nor_mlflow(plan, tmp_path):
    """Each takes seconds to import; of MLflow nothing is wanted that it has already."""
    assert _run(plan, tmp_path, "--method", "source-only", "--folds", "2020") == 0
    for more in ([], ["--output", str(tmp_path / "made")]):
        code = "import sys, benchmark.cli.app as c\n"
        code += f"c.main({['report', plan.protocol, '--results', str(tmp_path), *more]})\n"
        code += "print([m for m in ('torch', 'mlflow', 'pandas', 'scipy.stats') if m in sys.modules])"
        program = [sys.executable, "-c", code]
        told = subprocess.run(program, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, check=True).stdout
        assert "written into" in told and told.endswith("[]\n")
    assert (tmp_path / "made" / "comparison.png").is_file()


def test_a_report_is_made_again_only_where_what_it_is_made_of_or_a_file_of_it_has_changed(
    plan, tmp_path, capsys, monkeypatch
):
    assert _run(plan, tmp_path, "--method", "source-only", "--folds", "2020") == 0
    by_run, made, write = capsys.readouterr().out, [], report._write
    monkeypatch.setattr(report, "_write", lambda *given: made.append(given) or write(*given))

    def reports(*more):
        """How many reports a command makes; what it prints."""
        made.clear()
        assert main(["report", plan.protocol, "--results", str(tmp_path), *more]) == 0
        return len(made), capsys.readouterr().out

    count, text = reports()
    assert count == 0 and len(text.splitlines()) > 5 and by_run.endswith(text)
    assert reports("--rule", "last-step")[0] == 1 and reports("--rule", "last-step")[0] == 0
    assert reports() == (1, text) and reports() == (0, text)

    table = tmp_path / "tiny-v1" / "cells.csv"
    whole = table.read_text()
    for change in (lambda: table.write_text(whole.replace("0", "1")), table.unlink):
        change()
        assert reports() == (1, text) and table.read_text() == whole and reports() == (0, text)

    results = ResultsFolder(tmp_path)
    (row,) = results.queue.rows()
    for change in (
        (results.files(row.key) / "sample.npz").unlink,
        lambda: results.database.edit("tiny-v1", pixels.NAME, lambda old: {}),
        lambda: monkeypatch.setattr("benchmark.reporting.collect.digest_here", lambda label: "other"),
    ):
        change()
        assert reports()[0] == 1 and reports()[0] == 0
    assert "another version of the methods' code" in reports()[1]

    table.unlink()
    monkeypatch.setattr(ResultsFolder, "deliver", lambda results, experiment: "MLflow is away")
    assert [reports()[0], reports()[0]] == [1, 1]  # what MLflow lacks is tried again


def test_a_file_in_the_working_folder_is_a_method_that_may_be_meant(plan, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("agreement.py").write_text("class Agreement(Method):\n    pass\n")
    for given in ("agreement", "agreement.py"):
        assert _run(plan, tmp_path, "--method", given) == 1
        assert f"there is no method '{given}'; did you mean agreement:Agreement?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "source-olny"], "there is no method 'source-olny'; did you mean source-only? There are"),
        (["--method", "entropy-minimization[wait=1]"], "has no hyperparameter 'wait'; it has weight"),
        (["--folds", "1999"], "has no fold 1999; it has 2019, 2020"),
        (["--preset", "huge"], "there is no preset 'huge'; there are tiny, small, flair-baseline, flair2-baseline"),
        (["--encoder", "resnet3", "--method", "source-only", "--folds", "2020"], "cannot build light-fpn on resnet3"),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_what_is_allowed(plan, tmp_path, capsys, more, message):
    assert _run(plan, tmp_path, *more) == 1
    printed = capsys.readouterr()
    assert message in printed.err + printed.out and "Traceback" not in printed.err


@pytest.mark.parametrize(
    "wrong", [["--encoder", "resnet3"], ["--accelerator", "abacus"], ["--folds", "1999"], ["--tuned", "never-tuned"]]
)
def test_a_comparison_that_is_refused_leaves_no_trace(plan, tmp_path, wrong, capsys):
    assert _run(plan, tmp_path, "--method", "source-only", *wrong) == 1
    capsys.readouterr()
    results = ResultsFolder(tmp_path)
    assert not any(keys(results, experiment) for experiment in results.experiments()) and not results.queue.rows()
    assert main(["status", "--results", str(tmp_path)]) == 0
    assert "tiny-v1" not in capsys.readouterr().out
    assert main(["status", plan.protocol, "--results", str(tmp_path)]) == 1
    assert "nothing" in capsys.readouterr().err


def test_a_report_without_a_finished_run_keeps_the_table_that_is_there(plan, tmp_path, capsys):
    """A method that fails on every fold, after a good table; first there is none, and the failures are written."""
    failing = ["--method", "source-only", "--folds", "2020", "--steps", "3"]
    report = ["report", plan.protocol, "--results", str(tmp_path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Method, "segmentation_loss", _fails)
        assert _run(plan, tmp_path, *failing) == 1
    page = tmp_path / "tiny-v1" / "comparison.md"
    assert "RuntimeError: no idea" in page.read_text()
    assert _run(plan, tmp_path, "--method", "source-only", "--folds", "2020") == 0
    results = ResultsFolder(tmp_path)
    (good,) = (key for key in keys(results, "tiny-v1") if key in page.read_text())
    (bad,) = (key for key in keys(results, "tiny-v1") if key != good)
    before, note = _content(page.parent), _note(results)
    capsys.readouterr()
    assert main([*report, "--comparison", bad, "--output", str(page.parent)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"not written: no run of the comparison {bad} is finished" in told and "RuntimeError: no idea" in told
    assert (_content(page.parent), _note(results)) == (before, note)
    assert main([*report, "--comparison", bad]) == 0
    assert "RuntimeError: no idea" in (tmp_path / f"tiny-v1-{bad}" / "comparison.md").read_text()
    assert (_content(page.parent), _note(results)) == (before, note)


def _content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _note(results):
    return results.client.api.get_experiment_by_name("tiny-v1").tags["mlflow.note.content"]


def _fails(self, *args):
    raise RuntimeError("no idea")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "no-such-protocol"], "there is no protocol 'no-such-protocol'; there are"),
        (["run", "dubai-leave-one-place-out", "--data", "/nowhere"], "dubai.toml: there is no folder /nowhere, which"),
        (["run", "flair1-official", "--data", "/nowhere"], "landshift: there is no folder /nowhere, which is to hold"),
        (["run", "flairhub-toy", "--data", "/nowhere"], "landshift: there is no folder /nowhere, which is to hold"),
        (
            ["check", "no_such_file:Agreement"],
            "there is no module 'no_such_file' in this folder or among the installed",
        ),
        (["protocols", "show", "x"], "there is no protocol 'x'"),
        (["protocols", "show"], "needs a name"),
        (["methods", "x"], "there is no method 'x'"),
        (["ui", "--results", "/nowhere"], "/nowhere"),
    ],
)
def test_other_commands_refuse_in_one_line_too(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["run", "x", "--seeds", "a"], ["run", "x", "--workers", "0"], ["fly"]])
def test_arguments_that_cannot_be_read_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count("\n") == 1 and error.endswith("--help)\n")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--output", "x", "mine.toml"], "--output"),
        (["run", "mine.toml", "--steps", "3", "more"], "more"),
        (["run", "--seeds", "0", "--out", "x", "mine.toml"], "--out"),
    ],
)
def test_what_is_not_known_is_named_alone(arguments, named, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert capsys.readouterr().err == f"landshift: unrecognized arguments: {named} (see landshift run --help)\n"


@pytest.mark.parametrize("verb_first", [False, True])
def test_options_may_be_before_between_and_behind_the_words(verb_first):
    options, words = ["--output", "o"], ["describe"]
    arguments = ["data", *(words + options if verb_first else options + words), "folder", "--names-only"]
    parsed = make_parser(arguments).parse_args(arguments)
    assert (parsed.verb, str(parsed.root), str(parsed.output), parsed.names_only) == ("describe", "folder", "o", True)


def test_methods_are_listed_with_their_hyperparameters(capsys):
    assert main(["methods"]) == 0
    text = capsys.readouterr().out
    assert "entropy-minimization  (sees target images)" in text and "weight = 0.001   [1e-05 to 0.1, log]" in text
    assert main(["methods", "adversarial-alignment"]) == 0
    assert "Tsai et al." in capsys.readouterr().out


def test_protocols_are_listed_and_shown(plan, capsys):
    assert main(["protocols"]) == 0
    assert "flair1-official  v1  not pinned" in capsys.readouterr().out
    assert main(["protocols", "show", plan.protocol, "--data", str(plan.data)]) == 0
    assert "target_adapt" in capsys.readouterr().out


def test_a_world_is_generated_and_a_wrong_one_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmark.data.synthetic.World", _tiny_world)
    assert main(["world", str(tmp_path / "flat"), "--phenology", "0"]) == 0
    assert (tmp_path / "flat" / "world.json").is_file()
    assert main(["world", str(tmp_path / "x"), "--sun", "-1"]) == 1
    assert "sun" in capsys.readouterr().err


def _tiny_world(**settings):
    from benchmark.data.synthetic.world import World

    return World(**settings | {"places": 1, "times": 1, "zones": 1, "zone_side": 1}, patch_size=16)


def test_a_world_may_be_one_scene(tmp_path):
    from benchmark.cli.world import SIZES
    from benchmark.data.synthetic.world import World

    assert {name: default for name, (_, default) in SIZES.items()} == {name: getattr(World(), name) for name in SIZES}
    assert (
        main(["world", str(tmp_path / "w"), "--places", "1", "--times", "1", "--zones", "1", "--zone-side", "3"]) == 0
    )
    assert len(list((tmp_path / "w").rglob("IMG_*.tif"))) == 9


def test_a_truth_value_is_true_or_false(capsys):
    options = make_parser().parse_args(["run", "world-leave-times-out", "--turn", "false"])
    assert options.recipe_turn is False
    with pytest.raises(SystemExit):
        main(["run", "world-leave-times-out", "--turn", "no"])
    assert "true or false is allowed, not 'no'" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_ends_the_command_quietly():
    command = [sys.executable, "-m", "benchmark", "protocols", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=0) as process:
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait() == 0


def test_a_ctrl_c_that_a_callback_swallows_comes_again():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell began in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            _unraisable(SimpleNamespace(exc_type=KeyboardInterrupt))
            time.sleep(5)
    finally:
        signal.signal(signal.SIGINT, before)


def test_of_two_first_commands_one_generates_the_world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []

    def generate(world, folder):
        with pytest.raises(Timeout):
            FileLock(tmp_path / "data" / "world.lock").acquire(timeout=0)
        seen.append(folder)

    monkeypatch.setattr("benchmark.data.default_world.generate_with_bar", generate)
    prepare(Namespace(protocol="world-leave-times-out", data=None))
    assert seen == [Path("data/world")]


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"landshift {version('landshift')}\n"


def test_every_command_has_a_module_with_its_options():
    parser = make_parser()
    (commands,) = (action for action in parser._actions if hasattr(action, "choices") and action.choices)
    assert set(commands.choices) == set(COMMANDS)
    assert all(callable(one.get_default("action")) for one in commands.choices.values())
