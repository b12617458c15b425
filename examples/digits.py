"""A convolutional network on scikit-learn's handwritten digits, in three widths, as a model source.

    muster model add examples/digits.py:make --name digits --data builtin:digits
    muster model add examples/digits.py:make_narrow --variant-of digits --name narrow --data builtin:digits
    muster-compress run --model examples/digits.py:make --data builtin:digits --recipe quick --out variants

A source is any Python file with a function that returns a ``torch.nn.Module`` in eval mode, with its weights in place.
The names of ``forward``'s parameters become the names of the inputs, ``output_names`` those of the outputs.
"""

from muster_compression.digits.net import DigitsNet
from muster_compression.digits.train import NARROW, TINY, WIDE, trained


def make() -> DigitsNet:
    """The wide network: 4.2 million parameters. Trained at the first call, then read from the cache."""
    return trained(WIDE)


def make_narrow() -> DigitsNet:
    """A third of the width: a ninth of the parameters."""
    return trained(NARROW)


def make_tiny() -> DigitsNet:
    """A ninth of the width: for the last rung of a ladder."""
    return trained(TINY)
