"""Small weights become zero: smaller in transit, no faster."""

from __future__ import annotations

from pydantic import Field

from muster_compression.passes.port import PassContext, PassOutput, Settings, WorkingModel
from muster_compression.training.settings import FitSettings


class PruneMagnitudeSettings(Settings):
    """How much, in how many steps."""

    sparsity: float = Field(gt=0, lt=1)  # of the weights of convolutions and linear layers, in the end
    steps: int = Field(4, ge=1, le=100)
    step_epochs: int = Field(1, ge=0, le=1000)  # of training between two steps
    keep: tuple[str, ...] = ()  # paths of layers that stay dense; they do not count
    fit: FitSettings | None = None  # fine-tuning after the last step; none = no training at all
    control: bool = True  # with fit: train the dense model as long and compare


SETTINGS = PruneMagnitudeSettings


def apply(model: WorkingModel, settings: PruneMagnitudeSettings, context: PassContext) -> PassOutput:
    """Zero the smallest weights of the whole network step by step, train in between with the zeros held.

    Raises:
        PassError: nothing to prune, a layer would lose every weight, the sparsity was not reached, no samples to
            train or compare on, or it diverged.
    """
    from muster_compression.pruning.magnitude import run

    return run(model, settings, context)
