from dataclasses import replace

import pytest

from benchmark.common.errors import DataError, SettingsError
from benchmark.data.classes import FLAIR_13, FLAIR_19, ClassSet, LandClass
from benchmark.data.flairhub_classes import COSIA as FLAIR_HUB
from benchmark.maps.coding import COSIA_CLASSES, legend_for
from benchmark.maps.legend import Legend


def test_cosia_has_ign_s_numbers():
    assert [each.value for each in COSIA_CLASSES] == list(range(1, 16))
    legend, values = legend_for(FLAIR_13, "cosia")
    assert legend.coding == "cosia" and values.tolist() == [1, 2, 3, 5, 6, 8, 9, 10, 11, 12, 13, 14]
    assert legend.values == tuple(values) and legend.classes[4].french == "Surface eau"
    assert legend_for(FLAIR_19, "cosia")[1].tolist() == [1, 2, 3, 5, 6, 8, 9, 10, 11, 12, 13, 14, 4, 7, 15]


def test_cosia_is_found_by_name_and_not_by_value():
    assert legend_for(FLAIR_HUB, "cosia")[1].tolist() == [1, 15, 4, 3, 2, 5, 6, 7, 12, 13, 14, 11, 9, 8, 10]
    french = ClassSet("own", (LandClass("Vigne", "#000001", (7,)), LandClass("Terre labourée", "#000002", (3,))))
    assert legend_for(french, "cosia")[1].tolist() == [11, 14]


def test_the_own_coding_is_that_of_the_masks():
    legend, values = legend_for(FLAIR_19, "masks")
    assert legend == Legend.of(FLAIR_19) and values.tolist() == list(legend.values)


def test_what_cosia_has_not_is_refused():
    every = ClassSet("all", tuple(replace(each, ignored=False) for each in FLAIR_19.classes))
    with pytest.raises(DataError, match="'clear cut' of all is none of CosIA's 15 classes"):
        legend_for(every, "cosia")
    twice = ClassSet("two", (LandClass("vineyard", "#000001", (1,)), LandClass("vigne", "#000002", (2,))))
    with pytest.raises(DataError, match="'vineyard' and 'vigne' of two are both CosIA's vineyard"):
        legend_for(twice, "cosia")
    with pytest.raises(SettingsError, match="'ocs' does not exist; choose one of masks, cosia"):
        legend_for(FLAIR_13, "ocs")
