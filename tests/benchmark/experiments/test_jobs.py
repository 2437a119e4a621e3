"""Jobs: their identity says all that a result depends on, and nothing else."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.common.errors import DataError, SettingsError
from benchmark.data.catalog import COLUMNS
from benchmark.data.datasets import open_catalog
from benchmark.experiments.jobs import Bench, recipe_content
from benchmark.models import packaged
from benchmark.models.segmentation import NetworkSettings
from benchmark.training import stages
from benchmark.training.config import TrainingConfig, make_recipe
from methods.base import Needs
from protocols.base import ProtocolError

PLACES_OF_PIXELS = ("image", "mask", "row", "column")
OTHER_RECIPES = {
    "steps": 5,
    "batch_size": 3,
    "crop": 16,
    "turn": False,
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "weight_decay": 0.5,
    "momentum": 0.5,
    "schedule": "constant",
    "checkpoints": 1,
    "precision": "bf16-mixed",
    "stream_order": "recurring",
}
OTHER_NETWORKS = {
    "architecture": "fpn",
    "encoder": "resnet34",
    "encoder_weights": "imagenet",
    "encoder_depth": 3,
    "frozen": True,
    "decoder_channels": (16, 8),
}
OF_SERIES = {
    "series": "alone",
    "series_widths": (8, 16),
    "series_dropout": 0.5,
    "series_loss": 0.5,
    "series_side": 6,
    "dates": "all",
    "monthly": False,
}


def _identity(bench, label="source-only", fold="2019", seed=0):
    (job,) = bench.jobs([label], [seed], [fold])
    return job.identity


def test_the_grid_is_every_combination_seed_after_seed(bench):
    jobs = bench.jobs(["source-only", "oracle"], [0, 1])
    assert len(jobs) == 2 * 2 * 2 and len({job.identity for job in jobs}) == 8
    assert [job.seed for job in jobs] == [0] * 4 + [1] * 4


def test_what_a_result_depends_on_changes_the_identity(bench, plan, monkeypatch):
    identities = {
        _identity(bench),
        _identity(bench, seed=1),
        _identity(bench, fold="2020"),
        _identity(bench, "entropy-minimization"),
        _identity(bench, "entropy-minimization[weight=0.01]"),
        _identity(bench, "source-only[recipe.learning_rate=0.5]"),
        _identity(Bench(replace(plan, recipe=replace(plan.recipe, steps=5)))),
        _identity(Bench(replace(plan, recipe=replace(plan.recipe, precision="bf16-mixed")))),
    }
    monkeypatch.setattr("benchmark.experiments.jobs.code_digest", lambda method: "other code")
    identities.add(_identity(bench))
    assert len(identities) == 9


@pytest.mark.parametrize("name", [name for name in vars(TrainingConfig()) if name not in ("network", *OF_SERIES)])
def test_each_value_of_the_recipe_changes_the_identity(plan, bench, name):
    other = Bench(replace(plan, recipe=replace(plan.recipe, **{name: OTHER_RECIPES[name]})))
    assert _identity(other) != _identity(bench) and other.comparison != bench.comparison


@pytest.mark.parametrize("name", [field.name for field in fields(NetworkSettings) if field.name not in OF_SERIES])
def test_each_setting_of_the_network_changes_the_identity(plan, bench, name):
    network = replace(plan.recipe.network, **{name: OTHER_NETWORKS[name]})
    other = Bench(replace(plan, recipe=replace(plan.recipe, network=network)))
    assert _identity(other) != _identity(bench) and other.comparison != bench.comparison


@pytest.mark.parametrize("name", OF_SERIES)
def test_settings_of_series_count_where_the_network_sees_some(name):
    changed = {name: OF_SERIES[name]}
    plain, late = TrainingConfig(), make_recipe("tiny", {"series": "late"})
    network = {name} & {field.name for field in fields(NetworkSettings)}

    def changed_content(recipe):
        other = replace(recipe, network=replace(recipe.network, **changed)) if network else replace(recipe, **changed)
        return recipe_content(other)

    assert changed_content(late) != recipe_content(late)
    assert (changed_content(plain) == recipe_content(plain)) == (name != "series")


def test_the_order_by_date_is_left_out_so_that_runs_of_before_keep_their_keys():
    assert "stream_order" not in recipe_content(TrainingConfig())
    assert recipe_content(TrainingConfig(stream_order="place"))["stream_order"] == "place"


@pytest.mark.parametrize("column", [column for column in COLUMNS if column not in PLACES_OF_PIXELS])
def test_a_changed_column_of_the_catalog_changes_the_identity_though_the_pixels_are_the_same(plan, bench, column):
    """Dates order the test stream, and methods learn from places, altitudes and cameras."""
    changed = Bench(plan)
    columns = changed.catalog.patches
    value = columns[column].iloc[0]
    columns.loc[0, column] = f"{value}1" if isinstance(value, str) else value + 1
    assert changed.store.digest == bench.store.digest and changed.fingerprint == bench.fingerprint
    assert _identity(changed) != _identity(bench) and changed.comparison != bench.comparison


def test_other_classes_bands_pixels_or_folds_change_the_identity(plan, bench):
    catalog = bench.catalog
    first, *others = catalog.classes.classes
    classes = replace(catalog.classes, classes=(replace(first, name="another"), *others))
    identities = [_identity(bench)]
    for name, value in (
        ("catalog", replace(catalog, classes=classes)),
        ("catalog", replace(catalog, bands=catalog.bands[::-1])),
        ("store", replace(bench.store, digest="of other pixels")),
        ("fingerprint", "of other folds"),
    ):
        other = Bench(plan)
        setattr(other, name, value)
        identities.append(_identity(other))
    assert len(set(identities)) == 5


@pytest.mark.parametrize("column", ["image", "mask"])
def test_where_the_files_are_does_not_change_the_identity(plan, bench, column):
    moved = Bench(plan)
    moved.catalog.patches[column] = "/elsewhere" + moved.catalog.patches[column]
    assert _identity(moved) == _identity(bench) and moved.comparison == bench.comparison


def test_devices_and_folders_do_not_change_the_identity(bench, plan, tmp_path):
    elsewhere = Bench(replace(plan, results=tmp_path, accelerator="auto"))
    assert _identity(elsewhere) == _identity(bench) and elsewhere.comparison == bench.comparison


@pytest.mark.parametrize("wrong", [{"accelerator": "abacus"}, {"recipe": {"precision": "3-bit"}}])
def test_a_device_or_precision_that_does_not_exist_is_told_before_anything_runs(plan, wrong):
    recipe = replace(plan.recipe, **wrong.pop("recipe", {}))
    with pytest.raises(SettingsError, match="cannot train with --accelerator"):
        Bench(replace(plan, recipe=recipe, **wrong)).check_settings()


def test_a_default_written_out_is_the_default(bench):
    assert _identity(bench, "entropy-minimization[weight=0.001]") == _identity(bench, "entropy-minimization")


def test_a_method_that_needs_target_images_is_skipped_where_there_are_none(plan, protocol_file, tmp_path):
    protocol = tmp_path / "blind.toml"
    text = Path(protocol_file).read_text().replace('hold_out = ["time"]', "").replace("few = 1", "adapt_share = 0.0")
    protocol.write_text(text + '[[fold]]\nname = "t"\ntarget = {place = ["D901"]}\n')
    bench = Bench(replace(plan, protocol=str(protocol)))
    labels = ["source-only", "entropy-minimization", "oracle", "few-target-labels"]
    reasons = {job.label: job.skip for job in bench.jobs(labels, [0])}
    assert "sets none aside" in reasons["few-target-labels"]
    assert reasons["source-only"] == ""
    assert "no target_adapt part" in reasons["entropy-minimization"] and "no target_adapt part" in reasons["oracle"]


TOWNS = """
name = "towns"
bands = ["red"]
patch_size = 8
image = "{town}/{part}.png"
mask = "{town}/m/{part}.png"
place = "{town}"
ignore = [0]
classes = [{name = "a", color = "#000001", value = 1}, {name = "b", color = "#000002", value = 2}]
"""
PROTOCOL = 'name = "towns"\nversion = 1\ndataset = "towns.toml"\ntitle = "t"\ndescription = "d"\nconfounds = "c"\n'


@pytest.fixture
def open_towns(plan, tmp_path):
    """Three towns of four patches; opens them after a change of what some masks hold."""
    (tmp_path / "towns.toml").write_text(TOWNS)
    (tmp_path / "towns-protocol.toml").write_text(PROTOCOL + 'hold_out = ["place"]\n')
    rng = np.random.default_rng(0)
    for town in "ABC":
        (tmp_path / town / "m").mkdir(parents=True)
        for part in range(4):
            Image.fromarray(rng.integers(0, 250, (8, 8), dtype=np.uint8)).save(tmp_path / town / f"{part}.png")
            Image.fromarray(rng.integers(1, 3, (8, 8), dtype=np.uint8)).save(tmp_path / town / f"m/{part}.png")

    def opened(*blank):
        for name in blank:
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name)
        return Bench(
            replace(plan, protocol=str(tmp_path / "towns-protocol.toml"), data=None, stores=tmp_path / "stores")
        )

    return opened


def test_a_part_without_a_labelled_pixel_is_told_before_anything_runs(open_towns):
    with pytest.raises(DataError, match=r"fold A: target_test needs labels, and no pixel of its 2 patches, such as A/"):
        open_towns(*(f"A/m/{part}.png" for part in range(4))).jobs(["source-only"], [0])
    (job,) = open_towns().jobs(["source-only"], [0], ["B"])  # whose source has labels in the other town
    assert not job.skip


def test_the_oracle_is_skipped_where_no_pixel_is_labelled(open_towns):
    adapt = open_towns().folds["A"].parts["target_adapt"]
    bench = open_towns(*(f"A/m/{patch.split('/')[1]}.png" for patch in adapt))
    reasons = {(job.label, job.fold): job.skip for job in bench.jobs(["source-only", "oracle"], [0])}
    assert "no pixel of target_adapt is labelled" in reasons["oracle", "A"] and not reasons["oracle", "B"]
    assert not reasons["source-only", "A"]


def test_metadata_is_needed_by_what_reads_nothing_else(open_towns, bench):
    (reason,) = {job.skip for job in open_towns().jobs(["metadata-fusion"], [0]) if job.label == "metadata-fusion"}
    assert reason == "needs metadata, and of no patch a date, coordinates or a camera is known"
    assert not any(job.skip for job in bench.jobs(["metadata-fusion"], [0]))


def test_what_changes_features_is_skipped_where_the_stages_of_the_encoder_are_unknown(plan, monkeypatch):
    built = []
    build = stages.build_network
    monkeypatch.setattr(stages, "build_network", lambda *parts, **keys: built.append(1) or build(*parts, **keys))
    stages.has_stages.cache_clear()
    network = replace(plan.recipe.network, encoder="vgg11", encoder_depth=3, decoder_channels=(8, 8, 8))
    bench = Bench(replace(plan, recipe=replace(plan.recipe, network=network)))
    assert not any(job.skip for job in bench.jobs(["source-only", "dann"], [0])) and not built
    reasons = {(job.label, job.skip) for job in bench.jobs(["source-only", "mix-style", "metadata-fusion"], [0, 1])}
    unknown = "changes features between the stages of the encoder, and those of vgg11 are unknown; take a ResNet, an "
    unknown += "MiT, a ConvNeXt or an EfficientNet"
    assert reasons == {("source-only", ""), ("mix-style", unknown), ("metadata-fusion", unknown)} and len(built) == 1
    assert not any(job.skip for job in Bench(plan).jobs(["mix-style"], [0]))


def test_the_same_image_in_two_towns_is_refused(open_towns, tmp_path):
    for part in range(4):
        (tmp_path / f"B/{part}.png").write_bytes((tmp_path / f"A/{part}.png").read_bytes())
    with pytest.raises(ProtocolError, match=r"fold A: A/\d/r0_c0 in \w+ and B/\d/r0_c0 in \w+ hold the same image"):
        open_towns()


def test_a_method_that_starts_from_the_source_brings_the_control_and_comes_after_it(bench):
    jobs = bench.jobs(["tent", "oracle"], [0, 1])
    assert [job.label for job in jobs] == ["source-only", "tent", "oracle"] * 4
    parents = [job.parent for job in jobs if job.label == "tent"]
    assert parents == [job.identity for job in jobs if job.label == "source-only"]
    assert not any(job.parent for job in jobs if job.label != "tent")


def test_a_few_labels_are_a_part_of_their_own(bench):
    data = bench.fold_data("2020")
    few, adapt = data.parts["few"], data.parts["target_adapt"]
    assert len(few.rows) == 1 and set(few.rows) < set(adapt.rows)
    pool = data.labelled(Needs.FEW_TARGET_LABELS)
    assert pool.rows.tolist() == [*data.parts["source_train"].rows, *few.rows]
    assert len(pool.metadata.x) == len(pool.rows)
    domains = data.task_of(Needs.FEW_TARGET_LABELS).domains
    assert domains == tuple(sorted({"D901@2019", "D902@2019", str(few.domains[0])})) and few.domains[0].endswith("2020")


def test_the_oracle_learns_from_the_target_images_that_have_labels(open_towns):
    first, *others = open_towns().folds["A"].parts["target_adapt"]
    bench = open_towns(f"A/m/{first.split('/')[1]}.png")
    (job,) = bench.jobs(["oracle"], [0], ["A"])
    pool = bench.fold_data("A").labelled(Needs.TARGET_LABELS)
    assert not job.skip and others and pool.rows.tolist() == bench.store.rows(others).tolist()


def test_domains_that_mlflow_could_not_tell_apart_are_refused(plan, monkeypatch):
    def renamed(dataset, root):
        catalog = open_catalog(dataset, root)
        places = catalog.patches["place"].map({"D901": "old town", "D902": "Old Town"})
        return replace(catalog, patches=catalog.patches.assign(place=places))

    monkeypatch.setattr("benchmark.experiments.jobs.open_catalog", renamed)
    with pytest.raises(DataError, match="several domains would be called 'old_town_2019'"):
        Bench(plan)


def test_an_unknown_fold_is_named_with_those_there_are(bench):
    with pytest.raises(SettingsError, match="no fold 1999; it has 2019, 2020"):
        bench.jobs(["source-only"], [0], ["1999"])


def test_every_way_to_write_a_method_is_one(bench):
    labels = ["entropy-minimization", "entropy-minimization[weight=1e-3]", "entropy-minimization[]"]
    assert [job.label for job in bench.jobs(labels, [0], ["2019"])] == ["entropy-minimization"]


def test_weights_from_a_file_are_known_by_their_bytes(plan, tmp_path):
    def identity(name, content):
        (tmp_path / name).write_bytes(content)
        network = replace(plan.recipe.network, encoder_weights=str(tmp_path / name))
        return _identity(Bench(replace(plan, recipe=replace(plan.recipe, network=network))))

    assert identity("a.pth", b"1") == identity("b.pth", b"1") != identity("a.pth", b"2")


def test_packaged_weights_are_known_by_their_bytes_and_without_loading_them(plan, tmp_path, monkeypatch):
    network = replace(plan.recipe.network, encoder=packaged.ENCODER, encoder_weights="packaged")
    recipe = replace(plan.recipe, network=network)
    contents = []
    for content in (b"1", b"2"):
        (tmp_path / "weights.pth").write_bytes(content)
        monkeypatch.setattr(packaged, "packaged_file", lambda encoder: tmp_path / "weights.pth")
        contents.append(recipe_content(recipe)["network"]["encoder_weights"])
    assert contents[0] != contents[1] and all(content.startswith("packaged:") for content in contents)
    recorded = replace(recipe, network=replace(network, encoder_weights=contents[1]))
    assert recipe_content(recorded) == recipe_content(recipe), "what was written down names the same"


def test_facts_tell_all_that_the_interface_searches_for(bench):
    (job,) = bench.jobs(["entropy-minimization"], [3], ["2020"])
    facts = bench.facts(job)
    assert facts["method"] == "entropy-minimization" and facts["needs"] == "target images"
    assert (facts["held_out_place"], facts["held_out_time"], facts["seed"]) == ("none", "2020", 3)
    assert facts["hp/weight"] == 0.001 and facts["identity"] == job.identity
    for name in ("network", "steps", "fingerprint", "dataset_digest", "code_version", "rule", "protocol_version"):
        assert facts[name]


def test_a_bound_is_not_chosen_by_source_validation(bench):
    rules = {job.label: bench.facts(job)["rule"] for job in bench.jobs(["source-only", "oracle"], [0], ["2019"])}
    assert rules == {"source-only": "source-validation", "oracle": "last-step"}


def test_only_the_domains_that_a_fold_uses_are_decoded(plan, protocol_file, tmp_path):
    protocol = tmp_path / "one-year.toml"
    fold = '[[fold]]\nname = "a"\nsource = {time = ["2019"]}\ntarget = {place = ["D901"], time = ["2019"]}\n'
    fold = fold.replace('source = {time = ["2019"]}', 'source = {place = ["D902"]}')
    protocol.write_text(Path(protocol_file).read_text().replace('hold_out = ["time"]', fold))
    bench = Bench(replace(plan, protocol=str(protocol), stores=tmp_path / "stores"))
    assert set(bench.catalog.domain) == {"D901@2019", "D902@2020"}
    assert len(bench.store.ids) == len(bench.catalog) == 8
    assert len(list((tmp_path / "stores").rglob("images.npy"))) == 2
