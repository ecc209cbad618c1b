"""The schedulers under PyTorch 2.13's names and arguments; ``last_epoch`` is also called ``last_step``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazyflow.ops.elementwise import minimum
from lazyflow.optim.lr_scheduler import compose, cyclic, decay, lambdas, plateau
from lazyflow.optim.lr_scheduler.scheduler import LRScheduler
from lazyflow.optim.lr_scheduler.settings import Integer, Number
from lazyflow.tensor import Tensor

if TYPE_CHECKING:
    _Base = LRScheduler
else:
    _Base = object


class _Epochs(_Base):
    """Gives ``last_step`` its name in PyTorch too."""

    aliases = {"last_epoch": "last_step"}  # noqa: RUF012, declared in the base class


class StepLR(_Epochs, decay.StepLR):
    """The base rate times ``gamma`` once for every ``step_size`` steps."""


class MultiStepLR(_Epochs, decay.MultiStepLR):
    """The base rate times ``gamma`` once for each milestone that is reached."""


class ConstantLR(_Epochs, decay.ConstantLR):
    """The base rate times ``factor`` until step ``total_iters``, then the base rate."""


class LinearLR(_Epochs, decay.LinearLR):
    """A line from ``start_factor`` to ``end_factor`` times the base rate."""


class ExponentialLR(_Epochs, decay.ExponentialLR):
    """The base rate times ``gamma`` once for every step."""


class CosineAnnealingLR(_Epochs, decay.CosineLR):
    """A cosine that rises again after T_max steps: ``lazyflow.optim.lr_scheduler.CosineLR``."""


class PolynomialLR(_Epochs, LRScheduler):
    """A power of the remaining share of the steps, from the base rate to 0.

        rate = b * (1 - min(k, n) / n) ** power,   n = total_iters

    Args:
        optimizer: The optimizer whose rates it makes.
        total_iters: Steps of the decay, >= 1.
        power: > 0.
    """

    total_iters: Integer[int] = Integer(default=5, low=1)
    power: Number[float] = Number(default=1.0, above=0.0)

    @property
    def length(self) -> int | None:
        """The step from which the rate is constant."""
        return self.total_iters

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        return base * (1.0 - minimum(step, self.total_iters) / self.total_iters) ** self.power


class LambdaLR(_Epochs, lambdas.LambdaLR):
    """The base rate times a function of the step."""


class MultiplicativeLR(_Epochs, lambdas.MultiplicativeLR):
    """The base rate times the product of a function's values up to the step."""


class CosineAnnealingWarmRestarts(_Epochs, cyclic.CosineAnnealingWarmRestarts):
    """Half a cosine down, again and again, over cycles that grow."""


class CyclicLR(_Epochs, cyclic.CyclicLR):
    """Triangles between two rates; the momentum cycles against the rate, unless told otherwise."""

    cycle_momentum = cyclic.CyclicLR.cycle_momentum.but(default=True)


class OneCycleLR(_Epochs, cyclic.OneCycleLR):
    """Up to the highest rate and down to nearly nothing, once; the momentum goes down and up."""

    cycle_momentum = cyclic.OneCycleLR.cycle_momentum.but(default=True)


class SequentialLR(_Epochs, compose.SequentialLR):
    """Schedules one after the other, whose steps count from their milestones."""


class ChainedScheduler(_Epochs, compose.ChainedScheduler):
    """Schedules that act together: each on the rate that the one before it makes."""


class ReduceLROnPlateau(_Epochs, plateau.ReduceLROnPlateau):
    """The base rate times ``factor`` once for each time that a metric has stopped to get better."""


__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
