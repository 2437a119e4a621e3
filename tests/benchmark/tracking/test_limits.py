"""What MLflow would cut or refuse is refused here first, with a message that names it."""

import math
import re

import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils import validation

from benchmark.common.errors import TrackingError
from benchmark.tracking import limits
from benchmark.tracking.limits import PARAM_LENGTH, checked_facts, checked_key, checked_metrics, checked_text


@pytest.mark.parametrize("key", ["target/miou", "target/iou/bâti", "target/iou/bare soil", "a:b-c_d.e/0"])
def test_good_keys_pass(key):
    assert checked_key(key) == key
    validation._validate_metric_name(key)


@pytest.mark.parametrize(
    "key", ["", "a(b)", "a=b", "50%", "a//b", "/a", "a/", "a/../b", "./a", "..", "a\nb", "a,b"], ids=repr
)
def test_bad_keys_are_named(key):
    with pytest.raises(TrackingError, match=re.escape(repr(key))):
        checked_key(key)
    if key != "a\nb":  # the last sign of MLflow's pattern matches before a line end; that of ours does not
        with pytest.raises(MlflowException):
            validation._validate_metric_name(key)


def test_mlflow_has_the_same_limits():
    assert limits.PARAM_LENGTH == validation.MAX_PARAM_VAL_LENGTH
    assert limits.TAG_LENGTH == validation.MAX_TAG_VAL_LENGTH
    assert limits.EXPERIMENT_TAG_LENGTH == validation.MAX_EXPERIMENT_TAG_VAL_LENGTH
    assert limits.KEY_LENGTH == validation.MAX_ENTITY_KEY_LENGTH
    assert limits.DIGEST_LENGTH == validation.MAX_DATASET_DIGEST_SIZE
    assert limits.BATCH_METRICS == validation.MAX_METRICS_PER_BATCH
    assert limits.BATCH_FACTS == validation.MAX_PARAMS_TAGS_PER_BATCH


def test_long_values_are_refused_not_cut():
    whole = "x" * PARAM_LENGTH
    assert checked_facts({"a": whole, "b": 1, "c": True}) == {"a": whole, "b": "1", "c": "True"}
    with pytest.raises(TrackingError, match="'settings' has 6001 characters"):
        checked_facts({"settings": f"{whole}x"})
    with pytest.raises(TrackingError, match="the name 'kkk"):
        checked_key("k" * 251)
    with pytest.raises(TrackingError, match="'note' has 3 characters; MLflow keeps 2"):
        checked_text("note", "abc", 2)


def test_many_names_are_a_count_the_first_and_a_digest():
    first, other = (checked_text("k", ("a" * 90, *(f"n{n}" for n in range(count))), 200) for count in (199, 198))
    assert first.startswith(f"200 names, first {'a' * 80}…, sha256 ") and first[-8:] != other[-8:]


def test_absent_classes_are_left_out_and_infinity_is_an_error():
    assert checked_metrics({"target/iou/snow": math.nan, "target/miou": 0.5}) == {"target/miou": 0.5}
    with pytest.raises(TrackingError, match="train/loss/total"):
        checked_metrics({"train/loss/total": math.inf})
