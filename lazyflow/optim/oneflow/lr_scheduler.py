"""The schedulers under OneFlow 0.9's names: the same classes with its switches and arguments."""

from __future__ import annotations

from lazyflow.optim.lr_scheduler import compose, decay, warmup
from lazyflow.optim.lr_scheduler.compose import ChainedScheduler
from lazyflow.optim.lr_scheduler.cyclic import CosineAnnealingWarmRestarts
from lazyflow.optim.lr_scheduler.decay import (
    ConstantLR,
    CosineDecayLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from lazyflow.optim.lr_scheduler.lambdas import LambdaLR
from lazyflow.optim.lr_scheduler.plateau import ReduceLROnPlateau
from lazyflow.optim.lr_scheduler.scheduler import LRScheduler


class CosineAnnealingLR(decay.CosineLR):
    """A cosine that rises again after T_max steps: ``lazyflow.optim.lr_scheduler.CosineLR``."""


class SequentialLR(compose.SequentialLR):
    """Schedules one after the other, whose steps count from 0 unless ``interval_rescaling``."""

    global_steps = compose.SequentialLR.global_steps.but(default=True)


class WarmUpLR(warmup.WarmUpLR):
    """Low rates for the first steps; the first argument is also called ``lrsch_or_optimizer``."""

    aliases = {"lrsch_or_optimizer": "optimizer"}  # noqa: RUF012, declared in the base class


WarmupLR = WarmUpLR

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CosineDecayLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "WarmUpLR",
    "WarmupLR",
]
