"""Every single fault, on a small grid."""

import pytest

from tests.faults import single
from tests.faults.ground import Ground


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return Ground.made(tmp_path_factory.mktemp("faults"))


@pytest.mark.slow
@pytest.mark.timeout(2 * single.PATIENCE)
@pytest.mark.parametrize("name", single.FAULTS)
def test_nothing_finished_is_lost_and_the_same_command_does_the_rest(name, ground):
    try:
        found = single.FAULTS[name](ground)
    except single.Skipped as reason:
        pytest.skip(str(reason))
    assert not found.wrong and found.told
