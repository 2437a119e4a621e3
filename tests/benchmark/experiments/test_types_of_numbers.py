"""Images of every type from their files to scores: the same reflectances, whatever they are stored as."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from lightning_fabric import Fabric
from PIL import Image
from rasterio.transform import from_origin
from safetensors import safe_open

from benchmark.experiments.estimate import outline, store_bytes
from benchmark.experiments.jobs import Bench
from benchmark.experiments.run_job import PANEL, WEIGHTS
from benchmark.experiments.session import Session
from benchmark.experiments.shifts import measure_shifts
from benchmark.experiments.single import train_model
from benchmark.reporting.collect import collect
from benchmark.training.fold_data import batches_of
from benchmark.training.target_sample import gather
from methods.dacs import DACS

pytestmark = pytest.mark.usefixtures("networks_once", "stores_copied", "one_thread")
SIDE = 32
DESCRIPTION = """
name = "reflectances"
bands = ["red", "green", "blue", "nir"]
patch_size = 32
image = "{place}_{part}.tif"
mask = "{place}_{part}_m.png"
exclude = ["*_m"]
place = "{place}"
zone = "{place}/{part}"

[[classes]]
name = "dark"
color = "#203020"
value = 1

[[classes]]
name = "bright"
color = "#e0d0c0"
value = 2
"""
PROTOCOL = """
name = "tiny"
version = 1
dataset = "mine.toml"
title = "A tiny split"
description = "Places."
confounds = "Nothing."
hold_out = ["place"]
"""
KINDS = {
    "uint16": lambda numbers: numbers,
    "float32": lambda numbers: (numbers / 1e4).astype(np.float32),
    "int16": lambda numbers: (numbers - 9000.0).astype(np.int16),  # half of them are below 0
}


@pytest.fixture
def open_bench(plan, tmp_path):
    """Opens a folder of two places with four images of two classes, near 10,000 as stored with 16 bits."""

    def opened(kind, change=lambda image: image, **tags):
        root = tmp_path / kind
        root.mkdir()
        rng = np.random.default_rng(0)
        for place, light in (("east", 8000), ("west", 9500)):
            for part in range(4):
                mask = np.repeat(rng.integers(1, 3, (8, 1, 8, 1)), 4, 1).repeat(4, 3).reshape(SIDE, SIDE)
                numbers = rng.normal(light + 900 * mask, 120, (4, SIDE, SIDE)).clip(0, 20000).astype(np.uint16)
                image = change(KINDS[kind](numbers))
                grid = from_origin(1e5 * part + (7e5 if place == "west" else 0), 0, 10, 10)
                settings = {"height": SIDE, "width": SIDE, "count": 4, "dtype": image.dtype, "transform": grid}
                with rasterio.open(root / f"{place}_{part}.tif", "w", driver="GTiff", **settings, **tags) as file:
                    file.write(image)
                Image.fromarray(mask.astype(np.uint8)).save(root / f"{place}_{part}_m.png")
        (root / "mine.toml").write_text(DESCRIPTION)
        (root / "tiny.toml").write_text(PROTOCOL)
        recipe = replace(plan.recipe, steps=5)
        paths = {"results": root / "results", "stores": root / "stores", "data": None}
        return Bench(replace(plan, protocol=str(root / "tiny.toml"), recipe=recipe, **paths))

    return opened


def _missing(image):
    image[:, :4] = np.nan if image.dtype.kind == "f" else -9999
    image[2, 4:6] = -9999
    return image


@pytest.mark.parametrize(
    ("kind", "change", "tags"),
    [("uint16", np.copy, {}), ("int16", _missing, {"nodata": -9999}), ("float32", _missing, {"nodata": -9999})],
)
def test_from_files_to_a_table(open_bench, kind, change, tags):
    bench = open_bench(kind, change, **tags)
    assert bench.store.kind == kind
    assert store_bytes(outline(bench.plan)) == 8 * SIDE**2 * (4 * np.dtype(kind).itemsize + 1)
    session = Session(bench.plan, bench=bench)
    jobs = bench.jobs(["source-only-augmented", "dacs"], [0], ["east"])
    session.remember(jobs)
    ends = []
    session.run(jobs, on_end=ends.append)
    assert [end.error for end in ends] == [""] * len(ends) and len(ends) == len(jobs)
    cells = collect(session.results, session.experiment).cells
    assert {cell.status for cell in cells if cell.fold == "east"} == {"done"}
    run = session.results.runs(session.experiment)[0]
    panel = np.asarray(Image.open(run.artifacts / PANEL))[24:200, 8:180]
    assert panel.min() < 30 and panel.max() > 225 and 70 < panel.mean() < 190
    with safe_open(run.artifacts / WEIGHTS, "pt") as file:
        kept = bench.fold_data("east").scaling
        assert file.metadata()["low"] == repr(kept.low) and file.metadata()["high"] == repr(kept.high)


def test_the_same_reflectances_give_the_same_training_whatever_they_are_stored_as(open_bench):
    benches = [open_bench(kind) for kind in KINDS]
    seen = [bench.fold_data("east") for bench in benches]
    rows = seen[0].parts["target_test"].rows
    first, second, third = (data.images(rows) for data in seen)
    torch.testing.assert_close(first, second, rtol=0, atol=0.01)
    torch.testing.assert_close(first, third, rtol=0, atol=0.01)
    within = seen[0].images(seen[0].parts["source_train"].rows)
    assert -40 < within.min() < 1 and 254 < within.max() < 295
    models = [train_model(bench, "source-only", "east", 0) for bench in benches]
    losses = [[model.metrics["target/loss"], *model.curves["source_val/loss"].dropna()] for model in models]
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=2e-3)
    inputs = []
    models[1].model.network.register_forward_pre_hook(lambda network, batch: inputs.append(batch[0].images))
    images = benches[1].store.read(rows)
    models[1].predict(images)
    torch.testing.assert_close(inputs[0], second)
    images[:, 1, 3] = np.nan
    models[1].predict(images)
    assert torch.equal(inputs[1][:, :, 4:], second[:, :, 4:]) and inputs[1].isfinite().all()


def test_the_measured_shift_is_that_of_the_reflectances(open_bench, recipe):
    gaps = [measure_shifts(open_bench(kind), recipe.network, 4)[0].values["mean_gap"] for kind in KINDS]
    assert gaps[1:] == pytest.approx([gaps[0]] * 2, rel=1e-3) and 100 < gaps[0] < 400


def test_the_scale_knows_nothing_of_the_target(open_bench):
    bench = open_bench("uint16")
    data = bench.fold_data("east")
    assert data.scaling == bench.fold_data("east").scaling != bench.fold_data("west").scaling
    assert data.scaling == replace(data, parts={"source_train": data.parts["source_train"]}, scaling=None).scaling


def test_batches_whole_patches_and_the_sample_have_one_scale(open_bench, recipe):
    data, fabric = open_bench("uint16").fold_data("east"), Fabric(accelerator="cpu")
    method = SimpleNamespace(needs=DACS.needs, sampling_weights=lambda counts: None)
    for batch in next(batches_of(fabric, method, data, replace(recipe, crop=16), 0)):
        whole = batch.origin.images(batch.origin.positions)
        assert torch.equal(batch.origin.cut(whole), batch.images) and batch.images.abs().max() < 400
    seen = []
    gather(fabric, lambda batch: seen.append(batch.images) or batch.images[:, :2], data)
    target = data.images(data.parts["target_adapt"].rows)
    assert torch.equal(seen[0].sort(0).values, target.sort(0).values)
