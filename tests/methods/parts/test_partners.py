"""Partners of another domain."""

import torch

from methods.parts.partners import other_domain_partners


def test_partners_come_from_other_domains():
    domains = torch.tensor([0, 0, 0, 1, 2])
    for seed in range(20):
        partners = other_domain_partners(domains, torch.Generator().manual_seed(seed))
        assert (domains[partners] != domains).all()


def test_every_patch_of_another_domain_is_someone_s_partner():
    domains = torch.tensor([0, 0, 1, 2])
    drawn = {int(other_domain_partners(domains, torch.Generator().manual_seed(seed))[0]) for seed in range(40)}
    assert drawn == {2, 3}


def test_with_one_domain_any_patch_is_a_partner():
    domains = torch.zeros(3, dtype=torch.int64)
    drawn = {int(other_domain_partners(domains, torch.Generator().manual_seed(seed))[0]) for seed in range(40)}
    assert drawn == {0, 1, 2}


def test_a_patch_alone_is_its_own_partner():
    assert other_domain_partners(torch.tensor([4]), torch.Generator().manual_seed(0)).tolist() == [0]
