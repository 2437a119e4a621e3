"""Patches of the tests on which the methods differ most: image, truth, and what each method predicts."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmark.common.errors import DataError
from benchmark.data.patch_images import GAP, SIDE, letters, panel_legend, panel_tiles
from benchmark.evaluation.comparison import Cell

ACROSS = 6  # tiles in a row
TITLE = 16  # pixels above a tile
LONGEST = 32  # letters of a method's name that fit above its tile


def widest(cells: Sequence[Cell], seed: int) -> list[str]:
    """Return the folds with a result of a seed, by the range of the methods' mean IoU: the widest first.

    So that not every picture of every fold has to be opened to find the few that are shown.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        if cell.seed == seed and cell.metrics is not None:
            values[cell.fold].append(cell.metrics.get("target/miou", np.nan))
    return sorted(values, key=lambda fold: -float(np.nan_to_num(np.std(values[fold]))))


def differing(panels: Mapping[str, Path]) -> tuple[Image.Image, float] | None:
    """Return the patch of one fold and seed on which the predictions differ most.

    Args:
        panels: file with the `prediction_panel` of each method, all of the same patches.

    Returns:
        the picture, and the share of the patch's pixels on which a method differs from the others' most frequent
        answer, mean over methods; None where fewer than two methods have a panel.
    """
    there = {method: path for method, path in panels.items() if path.is_file()}
    with ThreadPoolExecutor() as pool:  # Pillow decodes outside of Python's lock
        opened = dict(zip(there, pool.map(_open, there.values()), strict=True))
    stacks = {method: stack for method, (stack, _) in opened.items()}
    truths = {method: stack[:, 1].tobytes() for method, stack in stacks.items()}
    commonest = Counter(truths.values()).most_common(1)  # runs of an older landshift may show other patches
    tiles = {method: stack for method, stack in stacks.items() if truths[method] == commonest[0][0]}
    patches = min(map(len, tiles.values()), default=0)
    if len(tiles) < 2 or not patches:
        return None
    shares = [_disagreement(np.stack([tile[patch, 2] for tile in tiles.values()])) for patch in range(patches)]
    chosen = int(np.argmax(shares))
    image, truth, _ = next(iter(tiles.values()))[chosen]
    predicted = {name: tile[chosen, 2] for name, tile in tiles.items()}
    legend = next(iter(opened.values()))[1]
    return _sheet({"image": image, "truth": truth} | predicted, legend), shares[chosen]


def _open(path: Path) -> tuple[NDArray[np.uint8], Image.Image]:
    """Return the tiles of a panel, and its legend."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return panel_tiles(picture), panel_legend(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: no readable picture ({error})") from error


def _disagreement(pictures: NDArray[np.uint8]) -> float:
    """Return the share of pixels on which pictures (methods, S, S, 3) in the classes' colours differ."""
    red, green, blue = np.moveaxis(pictures.astype(np.int32), -1, 0)
    codes = (red << 16 | green << 8 | blue).reshape(len(pictures), -1)
    seen = np.zeros(1 << 24, bool)
    seen[codes] = True
    colors, pixels = np.flatnonzero(seen), codes.shape[1]  # NumPy's unique would sort a million pixels
    flat = np.searchsorted(colors, codes)
    votes = np.bincount((flat * pixels + np.arange(pixels)).ravel(), minlength=len(colors) * pixels)
    return float(1 - votes.reshape(-1, pixels).max(0).mean() / len(codes))


def _sheet(tiles: Mapping[str, NDArray[np.uint8]], legend: Image.Image) -> Image.Image:
    """Return the tiles below their names, six in a row, and the legend of the classes below them."""
    step, rows = SIDE + GAP, -(-len(tiles) // ACROSS)
    below = rows * (step + TITLE) + GAP
    canvas = Image.new("RGB", (ACROSS * step + GAP, below + legend.height), "white")
    canvas.paste(legend, (0, below))
    draw, font = ImageDraw.Draw(canvas), letters(11)
    for index, (name, tile) in enumerate(tiles.items()):
        x, y = GAP + index % ACROSS * step, GAP + index // ACROSS * (step + TITLE)
        short = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
        draw.text((x, y), short, fill="black", font=font)
        canvas.paste(Image.fromarray(tile), (x, y + TITLE))
    return canvas
