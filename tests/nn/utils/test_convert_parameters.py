"""Parameters as one vector, and views of one."""

from __future__ import annotations

import pytest

import weft as wf
from weft import nn


def test_there_and_back() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    parameters = list(net.parameters())
    vector = nn.utils.parameters_to_vector(parameters)
    assert vector.shape == (13,) and vector.requires_grad
    (vector * vector).sum().backward()
    assert all(p.grad is not None and p.grad.tolist() == (2 * p).tolist() for p in parameters)
    new = wf.arange(13.0)
    nn.utils.vector_to_parameters(new, parameters)
    assert list(net.parameters()) == parameters and net[1].bias.tolist() == [12.0]
    new[0] = 7.0  # they are views of it, as in PyTorch
    assert net[0].weight[0, 0].item() == 7.0
    assert nn.utils.parameters_to_vector(net.parameters()).tolist()[0] == 7.0
    with pytest.raises(wf.ShapeError, match=r"vec \(12,\) for parameters of 13 elements"):
        nn.utils.vector_to_parameters(wf.zeros((12,)), net.parameters())
