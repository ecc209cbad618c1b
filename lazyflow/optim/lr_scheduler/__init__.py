"""Learning-rate schedules: the rate as a function of the step, computed in the plan."""

from lazyflow.optim.lr_scheduler.compose import ChainedScheduler, SequentialLR
from lazyflow.optim.lr_scheduler.cyclic import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from lazyflow.optim.lr_scheduler.decay import (
    ConstantLR,
    CosineAnnealingLR,
    CosineDecayLR,
    CosineLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from lazyflow.optim.lr_scheduler.lambdas import LambdaLR, MultiplicativeLR
from lazyflow.optim.lr_scheduler.plateau import ReduceLROnPlateau
from lazyflow.optim.lr_scheduler.scheduler import LRScheduler
from lazyflow.optim.lr_scheduler.settings import Choice, Flag, Integer, Number
from lazyflow.optim.lr_scheduler.warmup import WarmupCosineLR, WarmUpLR

WarmupLR = WarmUpLR

__all__ = [
    "ChainedScheduler",
    "Choice",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CosineDecayLR",
    "CosineLR",
    "CyclicLR",
    "ExponentialLR",
    "Flag",
    "Integer",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "Number",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "WarmUpLR",
    "WarmupCosineLR",
    "WarmupLR",
]
