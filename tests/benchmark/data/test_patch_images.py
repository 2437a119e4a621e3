"""Pictures: the right bands, the classes' colours, and black where the truth is ignored."""

import numpy as np
from PIL import Image

from benchmark.data.classes import FLAIR_13, IGNORE
from benchmark.data.patch_images import (
    GAP,
    SIDE,
    TITLE,
    choose_patches,
    colorize,
    domain_sheet,
    draw_legend,
    legend_height,
    letters,
    panel_tiles,
    prediction_panel,
    to_rgb,
)


def test_bands_are_shown_by_name():
    images = np.arange(4, dtype=np.uint8).reshape(1, 4, 1, 1)
    assert to_rgb(images, ("nir", "red", "green", "blue"))[0, 0, 0].tolist() == [1, 2, 3]
    assert to_rgb(images, ("a", "b", "c", "d"))[0, 0, 0].tolist() == [0, 1, 2]
    assert to_rgb(images[:, :1], ("grey",))[0, 0, 0].tolist() == [0, 0, 0]


def test_other_types_than_bytes_are_stretched_band_by_band():
    dark = np.random.default_rng(0).normal(0.1, 0.01, (2, 3, 32, 32)).astype(np.float32)
    dark[:, 1] = 1000 * dark[:, 1] - 50
    dark[0, 0, 0, 0], dark[:, 2] = 90, 0.5  # one pixel too bright; one band of one value
    shown = to_rgb(dark, ("red", "green", "blue"))
    assert shown.dtype == np.uint8 and not shown[..., 2].any()
    for band in range(2):
        assert (shown[..., band] == 0).mean() < 0.03 and 100 < shown[..., band].mean() < 155
    numbers = to_rgb(np.rint(1e5 * dark).astype(np.int32), ("red", "green", "blue"))
    assert np.abs(numbers.astype(int) - shown).max() <= 1


def test_classes_have_their_colours():
    colors = colorize(np.array([[[0, IGNORE]]], dtype=np.uint8), FLAIR_13)[0, 0]
    assert colors.tolist() == [[0xDB, 0x0E, 0x9A], [0, 0, 0]]


def test_a_prediction_is_hidden_where_the_truth_is_ignored():
    images = np.zeros((1, 5, 8, 8), np.uint8)
    truth = np.full((1, 8, 8), IGNORE, np.uint8)
    panel = prediction_panel(images, truth, np.zeros_like(truth), FLAIR_13, ("red", "green", "blue", "nir", "height"))
    assert panel.getpixel((GAP + 2 * (SIDE + GAP) + 5, 30)) == (0, 0, 0)


def test_ids_are_written_on_the_images_alone():
    images, truth = np.full((2, 3, 8, 8), 90, np.uint8), np.zeros((2, 8, 8), np.uint8)
    plain, named = (
        prediction_panel(images, truth, truth, FLAIR_13, ("red", "green", "blue"), ids) for ids in ((), "ab")
    )
    different = (panel_tiles(plain) != panel_tiles(named)).any(axis=(2, 3, 4))
    assert different.tolist() == [[True, False, False]] * 2


def test_patches_are_chosen_that_add_classes():
    counts = np.array([[100, 0, 0, 0], [50, 50, 0, 0], [0, 50, 50, 0], [0, 0, 0, 10], [99, 1, 0, 0]])
    assert choose_patches(counts, 2) == [1, 2] and choose_patches(counts, 3) == [1, 2, 3]
    assert choose_patches(counts, 9) == [0, 1, 2, 3, 4]
    assert (
        choose_patches(np.zeros((3, 2), np.int64), 2) == [0, 1] and choose_patches(np.zeros((0, 2), np.int64), 2) == []
    )


def test_letters_with_accents_are_drawn():
    shapes = {bytes(letters(16).getmask(letter)) for letter in "éîßж\uffff"}
    assert len(shapes) == 5  # a letter that the font lacks looks as the last one


def test_what_is_black_is_in_the_legend():
    canvas = Image.new("RGB", (900, legend_height(FLAIR_13, 12)), "white")
    draw_legend(canvas, FLAIR_13, 0, 12)
    row = FLAIR_13.num_classes // 3 * (12 + 6) + 6  # of the last entry
    assert canvas.getpixel((GAP + 6, row)) == (0, 0, 0)


def test_a_sheet_has_a_row_a_place_and_a_column_a_time_and_the_classes(catalog):
    sheet = domain_sheet(catalog)
    legend = 5 * (TITLE + GAP)  # twelve names and "no label" in three columns
    assert sheet.size == (3 * (2 * SIDE + GAP) + GAP, 2 * (2 * SIDE + GAP) + GAP + legend)
    classes = sheet.crop((2 * (2 * SIDE + GAP) + GAP, GAP + 2 * TITLE, sheet.width - GAP, GAP + 2 * SIDE))
    colors = {color for _, color in classes.getcolors()}
    assert colors <= {tuple(color) for color in FLAIR_13.palette().tolist()} and len(colors) > 1
