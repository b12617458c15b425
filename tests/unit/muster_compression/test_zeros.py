from __future__ import annotations

import torch
from torch import nn

from muster_compression.zeros import zero_keeper


def test_pruned_weights_stay_zero_and_others_are_free() -> None:
    net = nn.Sequential(nn.Linear(10, 10), nn.Linear(20, 20), nn.Linear(5, 5))
    with torch.no_grad():
        net[0].weight[:, :5] = 0
        net[1].weight[0, 0] = 0  # by chance: 1 of 400
        nn.init.zeros_(net[2].weight)  # how it begins
    keep = zero_keeper(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    keep(1)
    assert (net[0].weight[:, :5] == 0).all()
    assert (net[0].weight[:, 5:] != 0).all()
    assert net[1].weight[0, 0] != 0
    assert (net[2].weight == 1).all()
