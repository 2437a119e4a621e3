"""Addresses: the same on every machine, different for different purposes."""

import torch

from methods.parts.randomness import address, numpy_generator, torch_generator


def test_an_address_is_the_same_for_ever():
    assert address(0, "weights") == 4410916866061541830


def test_parts_do_not_run_into_each_other():
    assert len({address("ab", "c"), address("a", "bc"), address("abc"), address("a", "b", "c")}) == 4


def test_generators_start_where_their_address_says():
    assert torch.rand(3, generator=torch_generator(1, "x")).equal(torch.rand(3, generator=torch_generator(1, "x")))
    assert numpy_generator(1, "x").random() != numpy_generator(1, "y").random()
