"""Patches of the tests on which the methods differ most: image, truth, and what each method predicts."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmark.figures import GAP, SIDE, panel_tiles

ACROSS = 6  # tiles in a row
TITLE = 16  # pixels above a tile
LONGEST = 30  # letters of a method's name that fit above its tile


def differing(panels: Mapping[str, Path]) -> tuple[Image.Image, float] | None:
    """The patch of one fold and seed on which the predictions differ most.

    Args:
        panels: of each method the file with its `benchmark.figures.prediction_panel`, all of the same patches.

    Returns:
        the picture, and the share of the patch's pixels on which a method differs from the others' most frequent
        answer, mean over methods; None where fewer than two methods have a panel.
    """
    tiles = {method: panel_tiles(Image.open(path)) for method, path in panels.items() if path.is_file()}
    patches = min(map(len, tiles.values()), default=0)
    if len(tiles) < 2 or not patches:
        return None
    shares = [_disagreement([np.asarray(found[patch][2]) for found in tiles.values()]) for patch in range(patches)]
    chosen = int(np.argmax(shares))
    image, truth, _ = next(iter(tiles.values()))[chosen]
    predicted = {name: found[chosen][2] for name, found in tiles.items()}
    return _sheet({"image": image, "truth": truth} | predicted), shares[chosen]


def _disagreement(pictures: list[np.ndarray]) -> float:
    """From pictures (S, S, 3) in the classes' colours."""
    codes = np.stack(pictures).astype(np.int64) @ [1 << 16, 1 << 8, 1]
    flat = codes.reshape(len(codes), -1)
    colors, numbers = np.unique(flat, return_inverse=True)
    votes = np.stack([(numbers.reshape(flat.shape) == index).sum(0) for index in range(len(colors))])
    return float(1 - votes.max(0).mean() / len(flat))


def _sheet(tiles: Mapping[str, Image.Image]) -> Image.Image:
    step, rows = SIDE + GAP, -(-len(tiles) // ACROSS)
    canvas = Image.new("RGB", (ACROSS * step + GAP, rows * (step + TITLE) + GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    for index, (name, tile) in enumerate(tiles.items()):
        x, y = GAP + index % ACROSS * step, GAP + index // ACROSS * (step + TITLE)
        short = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
        draw.text((x, y), short, fill="black", font=font)
        canvas.paste(tile, (x, y + TITLE))
    return canvas
