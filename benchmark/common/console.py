"""Terminal output: progress bars with the time left, and tables."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from benchmark.common.texts import shown

# Where there is no terminal rich assumes 80 columns, too few for the table.
# Emoji codes stay text: `module:Class` holds colons.
console = Console(emoji=False, width=None if Console().is_terminal else 140)


@contextmanager
def silence(quiet: bool) -> Iterator[None]:
    """Print nothing and show no bars for the length of a block, if `quiet`."""
    before, console.quiet = console.quiet, console.quiet or quiet
    try:
        yield
    finally:
        console.quiet = before


class Bar:
    """A progress bar for the length of a block."""

    def __init__(self, title: str, total: float | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=600,  # runs last from seconds to hours; the last half minute says little
        )
        self._title, self._total = title, total

    def __enter__(self) -> Self:
        self._progress.start()
        self._task = self._progress.add_task(
            self._title, total=self._total, visible=self._total is not None, count=f"0/{self._total or 0:.0f}"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, done: float, total: float, whole: int | None = None) -> None:
        """Show that ``done`` of ``total`` are done.

        Args:
            whole: number to print, where ``done`` is a sum of shares; by default ``done`` without its fraction.
        """
        count = f"{int(done) if whole is None else whole}/{total:.0f}"
        self._progress.update(self._task, completed=done, total=total, visible=True, count=count)


class FileBar(Bar):
    """A bar over files, shown only if there is a file to read."""

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` files are done."""
        self.show(done, total)


def duration(seconds: float) -> str:
    """Return a length of time in hours and minutes, or in seconds if it is short."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def print_line(line: str) -> None:
    """Print words, in a terminal broken between them; elsewhere in one line, which a program can read."""
    console.print(shown(line), markup=False, highlight=False, soft_wrap=not console.is_terminal)


def print_rows(header: Sequence[str], body: Sequence[Sequence[str]], *, texts: bool = False) -> None:
    """Print a plain table, the first column to the left, the others to the right, or to the left if they are texts.

    Columns that the terminal is too narrow for come in further tables, below, each with the first column again.
    """
    widths = [max(map(cell_len, "\n".join(map(str, column)).split("\n"))) for column in zip(header, *body, strict=True)]
    left = list(range(1, len(header)))
    while True:
        taken, room = left[:1], console.width - min(widths[0], console.width // 2)
        while len(taken) < len(left) and (texts or sum(widths[n] + 3 for n in left[: len(taken) + 1]) <= room):
            taken = left[: len(taken) + 1]
        columns = [0, *taken]
        console.print(
            plain_table([header[n] for n in columns], [[row[n] for n in columns] for row in body], texts=texts)
        )
        left = left[len(taken) :]
        if not left:
            break
        console.print()


def plain_table(header: Sequence[str], body: Sequence[Sequence[str]], *, texts: bool = False) -> Table:
    """Return the table that `print_rows` prints."""
    table = Table(show_edge=False, pad_edge=False)
    for index, name in enumerate(header):
        # Names come from data: a `Text` is taken as it is, where a plain one would be read as rich's markup.
        shown_name = Text("\n".join(map(shown, name.split("\n"))))
        words = texts or index == 0  # a long name goes on in the next line, so that every number is seen whole
        table.add_column(shown_name, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for row in body:
        table.add_row(*(Text(shown(cell)) for cell in row))
    return table
