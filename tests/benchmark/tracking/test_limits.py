"""What MLflow would cut or refuse is refused here first, with a message that names it."""

import math

import pytest

from benchmark.common.errors import TrackingError
from benchmark.tracking.limits import PARAM_LENGTH, checked_facts, checked_key, checked_metrics, checked_text

GOOD = ["target/miou", "target/iou/bâti", "target/iou/bare soil", "a:b-c_d.e/0"]
BAD = ["", "a(b)", "a=b", "50%", "a//b", "/a", "a/", "a/../b", "./a", "..", "a\nb", "a,b"]


@pytest.mark.parametrize("key", GOOD)
def test_good_keys_pass(key: str) -> None:
    assert checked_key(key) == key


@pytest.mark.parametrize("key", BAD)
def test_bad_keys_are_named(key: str) -> None:
    with pytest.raises(TrackingError) as error:
        checked_key(key)
    assert repr(key) in str(error.value)


def test_mlflow_agrees_on_keys() -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_metric_name

    for key in GOOD:
        _validate_metric_name(key)
    for key in BAD:
        if key == "a\nb":  # its pattern's last sign matches before a line end; ours does not
            continue
        with pytest.raises(MlflowException):
            _validate_metric_name(key)


def test_mlflow_has_the_same_limits() -> None:
    from mlflow.utils import validation

    from benchmark.tracking import limits

    assert limits.PARAM_LENGTH == validation.MAX_PARAM_VAL_LENGTH
    assert limits.TAG_LENGTH == validation.MAX_TAG_VAL_LENGTH
    assert limits.EXPERIMENT_TAG_LENGTH == validation.MAX_EXPERIMENT_TAG_VAL_LENGTH
    assert limits.KEY_LENGTH == validation.MAX_ENTITY_KEY_LENGTH
    assert limits.DIGEST_LENGTH == validation.MAX_DATASET_DIGEST_SIZE
    assert limits.BATCH_METRICS == validation.MAX_METRICS_PER_BATCH
    assert limits.BATCH_FACTS == validation.MAX_PARAMS_TAGS_PER_BATCH


def test_long_values_are_refused_not_cut() -> None:
    assert checked_facts({"a": "x" * PARAM_LENGTH, "b": 1, "c": True}) == {
        "a": "x" * PARAM_LENGTH,
        "b": "1",
        "c": "True",
    }
    with pytest.raises(TrackingError, match="'settings' has 6001 characters"):
        checked_facts({"settings": "x" * (PARAM_LENGTH + 1)})
    with pytest.raises(TrackingError, match="the name 'kkk"):
        checked_key("k" * 251)
    with pytest.raises(TrackingError, match="'note' has 3 characters; MLflow keeps 2"):
        checked_text("note", "abc", 2)


def test_absent_classes_are_left_out_and_infinity_is_an_error() -> None:
    assert checked_metrics({"target/iou/snow": math.nan, "target/miou": 0.5}) == {"target/miou": 0.5}
    with pytest.raises(TrackingError, match="train/loss/total"):
        checked_metrics({"train/loss/total": math.inf})
