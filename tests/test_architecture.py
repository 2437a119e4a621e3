"""The arrows between rooms, the length of files, and what a quick command may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for top in ("benchmark", "methods", "protocols") for path in (REPOSITORY / top).rglob("*.py"))
# The packages of benchmark and what each is for; a package imports only from those above it.
PACKAGES = {
    "common": "errors, files, texts, the console",
    "data": "FLAIR, folders, the synthetic world: from files to catalog, decoded store and batches",
    "models": "segmentation networks (smp, timm) and their encoder weights",
    "evaluation": "selection rules, validators, statistics, domain shift, the lines of a comparison: pure functions",
    "training": "config, fold data with the label guard, trainer, loop, savepoints, prediction of a part",
    "tracking": "MLflow; nothing else knows it",
    "experiments": "jobs and their keys, provenance, the queue, the worker, launchers (local, Slurm), status",
    "tuning": "Optuna; nothing else knows it",
    "reporting": "from the runs of a comparison to tables, figures and pages",
    "maps": "georeferenced predictions of finished runs, and figures of zones",
    "conformance": "checks of a method, replay of runs, verification of published tables, costs of a step",
    "api": "the Python interface",
    "cli": "the command line",
    "__main__": "the command line as a process",
}
ORDER = list(PACKAGES)


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "benchmark" else {node.module}
            )
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_arrows_go_up(path):
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    imports = _imports(path)
    if parts[0] in ("methods", "protocols"):
        others = {"benchmark", "methods", "protocols"} - {parts[0]}
        assert not {name for name in imports if name.split(".")[0] in others}
    elif parts[1] != "__init__":
        for name in imports:
            if name.startswith("benchmark."):
                above = ORDER.index(name.split(".")[1]) <= ORDER.index(parts[1])
                assert above, f"{'.'.join(parts)} imports {name}"


def test_the_top_of_benchmark_is_its_packages_and_the_design_page_lists_them():
    folder = REPOSITORY / "benchmark"
    top = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert top == {"__init__", *PACKAGES} and len(top) <= 16
    rows = [f"| `{name}` | {purpose} |" for name, purpose in PACKAGES.items()]
    assert "\n".join(rows) in (REPOSITORY / "docs" / "design.md").read_text(encoding="utf-8")


def _users(library: str) -> set[str]:
    """The modules of the project that import a library, anywhere in their text."""
    return {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts[1:])
        for path in SOURCES
        if any(name.split(".")[0] == library for name in _imports(path))
    }


@pytest.mark.parametrize(("library", "room"), [("mlflow", "tracking"), ("optuna", "tuning")])
def test_a_library_is_known_to_one_room(library, room):
    users = _users(library)
    assert users and {module.split(".")[0] for module in users} == {room}


def test_only_the_queue_and_its_tables_know_the_database():
    tables = {f"experiments.{module}" for module in ("database", "queue", "publications")}
    assert _users("sqlalchemy") == tables | {"tracking.client"}  # which names the class of MLflow's errors


def _calls(path: Path) -> list[tuple[str, dict[str, object]]]:
    """Every call by its name, with its constant keywords."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            known = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
            found.append((ast.unparse(node.func), {str(name): value for name, value in known.items()}))
    return found


def test_nothing_that_is_read_can_be_a_pickle():
    unpickled = ("allow_pickle", False)
    guards = {"torch.load": ("weights_only", True), "np.load": unpickled, "read_array": unpickled}
    seen = set()
    for path in SOURCES:
        for name, keywords in _calls(path):
            if name in guards:
                seen.add(name)
                assert keywords.get(guards[name][0]) is guards[name][1], f"{path}: {name}"
            pickled = name.endswith(
                ("read_pickle", "joblib.load", "yaml.load", "shelve.open", "pickle.load", "pickle.loads")
            )
            assert not pickled, f"{path}: {name}"
            assert name not in ("eval", "exec", "__import__", "os.system"), f"{path}: {name}"
    assert seen == set(guards)


def test_a_class_name_has_one_meaning():
    defined: dict[str, set[str]] = {}
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                defined.setdefault(node.name, set()).add(str(path))
    assert {name: files for name, files in defined.items() if len(files) > 1} == {}


def test_no_file_is_too_long():
    assert [str(path) for path in SOURCES if len(path.read_text().splitlines()) > 400] == []


def test_help_answers_without_the_heavy_imports():
    code = "import sys, benchmark.cli.app as c\ntry: c.main(['--help'])\nexcept SystemExit: pass"
    light = ("logging", "ctypes", "subprocess", "pathlib", "typing", "threading", "dataclasses")
    code += f"\nprint([m for m in {light} if m in sys.modules])"  # each takes longer than the parser
    answer = _and_the_heavy_imports(code)
    assert "examples:" in answer and answer.endswith("[]\n[]\n")


def test_help_of_a_command_imports_no_other_command():
    code = "import sys, benchmark.cli.app as c\ntry: c.main(['status', '--help'])\nexcept SystemExit: pass"
    code += "\nprint([m for m in sys.modules if m in [f'benchmark.cli.{name}' for name in c.COMMANDS]])"
    code += "\nprint([m for m in ('logging', 'ctypes', 'subprocess') if m in sys.modules])"
    shown = _and_the_heavy_imports(code)
    assert "--watch" in shown and shown.endswith("['benchmark.cli.status']\n[]\n[]\n")


def test_the_server_of_workers_is_started_before_the_heavy_imports():
    for command in (
        ["run", "world-leave-times-out", "--workers", "2"],
        ["run", "world-leave-times-out", "--accelerator", "cpu"],
        ["tune", "world-leave-times-out", "--trials", "1", "--workers", "2"],
    ):
        code = "import os, sys\nos.sched_getaffinity = lambda process: {0, 1}\n"
        code += "import benchmark.experiments.fork_server as s\ns.start_server = lambda: sys.exit('server')\n"
        code += "import benchmark.cli.app as c\n"
        code += f"try: c.main({[*command, '--results', '/nonexistent']})\nexcept SystemExit as e: print(e)"
        assert _and_the_heavy_imports(code) == "server\n[]\n"


def _and_the_heavy_imports(code: str) -> str:
    """What a program says, and what it has imported by then of what takes long."""
    heavy = ("torch", "mlflow", "numpy", "pandas", "pydantic", "rasterio", "matplotlib")
    code += f"\nprint([m for m in {heavy} if m in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, check=True
    ).stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "world-leave-times-ou", "--method", "dann"], "did you mean world-leave-times-out?"),
        (["run", "world-leave-times-out", "--method", "dan"], "did you mean dann?"),
        (["tune", "world-leave-times-out", "--trials", "2", "--method", "dan[width=3]"], "did you mean dann?"),
        (["check", "dan"], "did you mean dann?"),
    ],
)
def test_wrong_names_are_told_before_the_heavy_imports(words, told):
    answer = _and_the_heavy_imports(f"import sys, benchmark.cli.app as c\nsys.stderr = sys.stdout\nc.main({words})")
    assert told in answer and answer.endswith("[]\n")
