"""The default synthetic world, which is generated where a command needs it and it is not there yet."""

from pathlib import Path

from filelock import FileLock

from benchmark.common.console import Bar
from benchmark.data.synthetic import World, generate

FOLDER = Path("data/world")


def prepare_world() -> None:
    """Generate the default world in its default folder, with a progress bar, where it is not there yet."""
    if not (FOLDER / "world.json").is_file():
        FOLDER.parent.mkdir(exist_ok=True)
        with FileLock(FOLDER.with_suffix(".lock")):
            generate_with_bar(World(), FOLDER)  # does nothing where another process has done it


def generate_with_bar(world: World, folder: Path) -> None:
    """Generate a synthetic world and show how far it is."""
    with Bar("generating the world") as bar:
        generate(world, folder, bar.show)
