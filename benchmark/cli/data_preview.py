"""``landshift data preview``: a picture of a data set's patches, classes, places, times and zones."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.common.errors import SettingsError

if TYPE_CHECKING:
    from benchmark.data.catalog import Catalog


def preview(options: argparse.Namespace, catalog: "Catalog") -> int:
    """Draw the picture and write it.

    Raises:
        DataError: the data set cannot be read.
        SettingsError: the picture cannot be written.
    """
    from benchmark.common.console import print_line
    from benchmark.data.preview import draw_preview, sample_domains

    file = options.output or Path("preview.png")
    if file.suffix.lower() != ".png":
        raise SettingsError(f"the picture is a .png file, not {file}")
    samples = sample_domains(catalog)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draw_preview(catalog, samples).save(file)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}") from error
    shown = sorted({int(index) for sample in samples for index in set(sample.masks.flat)} - {255})
    missing = [name for index, name in enumerate(catalog.classes.names) if index not in shown]
    print_line(f"written: {file}: {sum(len(sample.rows) for sample in samples)} patches of {len(samples)} domains")
    if missing:
        print_line(f"none of them shows: {', '.join(missing)}")
    return 0
