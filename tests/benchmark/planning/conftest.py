"""An outline without data: two folds of a known protocol, of patches that are known too."""

import pytest

from benchmark.data.shapes import Shape
from benchmark.experiments.jobs import recipe_content
from benchmark.planning.outline import Outline


@pytest.fixture
def outlined(recipe):
    """Two folds; the patches are twice as wide as the crops."""
    return Outline(
        label="towns-v1",
        folds={"north": (100, 10, 20, 30), "south": (80, 20, 10, 12)},
        few=4,
        maskless=frozenset(),
        shape=Shape(3, 64, 5),
        patches=200,
        decoded=False,
        shared={"protocol": "towns", "recipe": recipe_content(recipe)},
        identified=True,
        words=(),
    )
