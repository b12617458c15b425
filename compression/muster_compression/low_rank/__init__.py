"""Layers as products of smaller layers.

In scope: truncated SVD of linear layers and 1 x 1 convolutions, Tucker-2 of k x k convolutions, the choice of layers
and ranks.
Not in scope: training (``training``), figures of whole models (the judge), removing channels (``pruning``).
"""
