"""The comparison as one HTML page that needs no other file and no network."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Figure:
    """A picture in the page.

    Attributes:
        data: the PNG, in base64.
        caption: description, which is also the alternative text.
    """

    data: str
    caption: str

    @classmethod
    def of(cls, path: Path, caption: str) -> "Figure":
        """Return the picture in a file."""
        return cls(base64.b64encode(path.read_bytes()).decode(), caption)

    @classmethod
    def drawn(cls, picture: Image.Image, caption: str) -> "Figure":
        """Return a picture that is in no file."""
        file = io.BytesIO()
        picture.save(file, "PNG")
        return cls(base64.b64encode(file.getvalue()).decode(), caption)


@dataclass(frozen=True)
class Section:
    """A part of the page: a table, figures, and what they mean.

    Attributes:
        texts: columns that hold words, and stand to the left.
    """

    title: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    figures: Sequence[Figure] = field(default_factory=list)
    note: str = ""
    texts: Sequence[int] = (0,)


def html_page(
    title: str,
    description: str,
    confounds: str,
    commands: Sequence[str],
    control: str,
    alarms: Sequence[str],
    sections: Sequence[Section],
    shared: str,
) -> str:
    """Return the page. All texts are escaped: names come from data.

    Args:
        commands: commands that make what is shown; none where they are not known.
        control: the method whose row is set off.
        shared: what all runs have in common.
    """
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    return environment.get_template("comparison.html").render(
        title=title,
        description=" ".join(description.split()),
        confounds=" ".join(confounds.split()),
        commands=commands,
        control=control,
        alarms=alarms,
        sections=sections,
        shared=shared,
    )
