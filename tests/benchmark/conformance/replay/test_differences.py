"""Two runs side by side: equal to the bit, or what differs and by how much."""

import numpy as np
import pytest
import torch

from benchmark.conformance.replay.differences import compare_runs
from benchmark.conformance.replay.replay import Circumstance, same, verdict

CPU = Circumstance("device", "cpu", "cpu", True)
MATRICES = {
    "2/target_test/D@2020|D/1": torch.tensor([[3, 1], [0, 4], [0, 0]]),
    "2/target_test/D@2020|D/2": torch.tensor([[2, 0], [0, 2], [1, 0]]),
}
RUN = {
    "confusion matrices": MATRICES,
    "metrics": {"target/miou": torch.tensor(0.5), "target/f1": torch.tensor(0.6)},
    "curves": {"train/loss/segmentation": torch.tensor([[1, 2.0], [2, 1.0]])},
    "weights": {"network.weight": torch.tensor([1.0, float("nan")]), "count": torch.tensor(3)},
}


def _changed(kind, **changes):
    return compare_runs(RUN, RUN | {kind: RUN[kind] | changes})


def test_a_run_is_the_same_as_itself_even_where_a_weight_is_not_a_number():
    found = compare_runs(RUN, RUN)
    assert same(found) and [finding.compared for finding in found] == [2, 2, 1, 2]
    told = ["the same to the bit: 2 confusion matrices, 2 metrics, 1 curves, 2 weights"]
    assert verdict(found, [CPU]) == told


def test_one_pixel_of_a_matrix_counts():
    name = "2/target_test/D@2020|D/1"
    found = _changed("confusion matrices", **{name: torch.tensor([[5, 0], [0, 3], [0, 0]])})
    assert found[0].differing == (name,) and found[0].largest == f"{name} most, by 2" and not same(found)


def test_the_last_bit_of_a_weight_and_the_sign_of_its_zero_count():
    nearly = torch.tensor([np.nextafter(np.float32(1), np.float32(2)), float("nan")])
    assert _changed("weights", **{"network.weight": nearly})[3].differing == ("network.weight",)
    zeros = RUN | {"weights": {"a": torch.zeros(2)}}, RUN | {"weights": {"a": -torch.zeros(2)}}
    assert not same(compare_runs(*zeros))
    shorter = _changed("weights", **{"network.weight": torch.zeros(1)})[3]
    assert shorter.differing == ("network.weight",) and shorter.largest == "in shape"


def test_a_curve_is_told_by_the_step_where_it_leaves_the_record():
    off = torch.tensor([[1, 2.0], [2, 1.5]])
    assert _changed("curves", **{"train/loss/segmentation": off})[2].largest == (
        "train/loss/segmentation first, from step 2 on"
    )
    gaps = torch.tensor([[1, float("nan")], [2, 1.0]]), torch.tensor([[1, float("nan")], [2, 1.5]])
    both = [RUN | {"curves": {"a": curve}} for curve in gaps]
    assert compare_runs(*both)[2].largest == "a first, from step 2 on" and same(compare_runs(both[0], both[0]))


def test_what_a_newer_version_logs_besides_is_no_difference_and_what_it_lacks_is():
    assert same(_changed("metrics", new=torch.tensor(1.0)))
    assert compare_runs(RUN, RUN | {"metrics": {"target/miou": torch.tensor(0.5)}})[1].differing == ("target/f1",)
    assert compare_runs(RUN, RUN | {"confusion matrices": {}})[0].differing == tuple(MATRICES)
    assert not same(_changed("weights", new=torch.tensor(1.0)))


def test_a_record_that_lacks_a_kind_says_so_and_an_empty_one_is_not_the_same():
    found = compare_runs(RUN | {"weights": {}}, RUN)
    assert same(found) and verdict(found, [CPU])[1] == "the record holds no weights"
    assert not same(compare_runs({kind: {} for kind in RUN}, RUN))


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (
            [CPU, Circumstance("torch", "1", "2", False), Circumstance("python", "1", "1", True)],
            "torch, which is not the same",
        ),
        ([CPU, Circumstance("packages", "–", "2", None)], "packages, of which the run holds no record"),
        ([Circumstance("device", "T4", "T4", True)], "sums are not always made in the same order"),
        ([CPU], "nothing that was recorded explains it"),
    ],
)
def test_a_difference_is_told_with_what_may_explain_it(rows, why):
    lines = verdict(_changed("metrics", **{"target/miou": torch.tensor(0.25)}), rows)
    assert lines[2] == "- metrics: 1 of 2 differ: target/miou; target/miou most, by 0.25 (0.5, here 0.25)"
    assert why in lines[-1]
