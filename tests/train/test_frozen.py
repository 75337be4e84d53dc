from __future__ import annotations

import pytest
import torch

from studio.train.frozen import freeze, require_unchanged


def test_what_is_frozen_learns_nothing_and_is_in_evaluation():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    freeze(module)
    assert not any(p.requires_grad for p in module.parameters())
    assert not module.training


def test_a_single_changed_weight_is_noticed():
    module = torch.nn.Linear(3, 2)
    before = freeze(module)
    require_unchanged(module, before)
    with torch.no_grad():
        module.bias[0] += 1e-6
    with pytest.raises(RuntimeError, match="frozen base has changed"):
        require_unchanged(module, before)


def test_swapped_weights_are_noticed():
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    before = freeze(module)
    module["a"], module["b"] = module["b"], module["a"]
    with pytest.raises(RuntimeError):
        require_unchanged(module, before)
