"""A clone shares the weights of its master and nothing else."""

from __future__ import annotations

import torch
from torch import nn

from studio.engine.clone import clone_shared


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * self.scale


def test_a_clone_gives_the_masters_output_from_the_masters_storage():
    master = Layer()
    clone = clone_shared(master)
    x = torch.randn(4, 3)
    assert torch.equal(clone(x), master(x))
    pointers = [{tensor.data_ptr() for tensor in one.state_dict().values()} for one in (master, clone)]
    assert pointers[0] == pointers[1]


def test_what_is_hung_on_a_clone_is_not_on_its_master():
    master = Layer()
    clone = clone_shared(master)
    clone.linear.register_forward_hook(lambda *of: torch.zeros(()))
    clone.linear = nn.Identity()
    assert isinstance(master.linear, nn.Linear)
    assert len(master.linear._forward_hooks) == 0


def test_a_clone_in_another_dtype_leaves_the_master_in_its_own():
    master = Layer()
    clone_shared(master).to(torch.bfloat16)
    assert {tensor.dtype for tensor in master.state_dict().values()} == {torch.float32}
