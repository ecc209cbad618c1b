"""The optimizers as PyTorch 2.13 computes them: the same classes with its switches and defaults."""

from lazyflow.optim.pytorch import lr_scheduler
from lazyflow.optim.pytorch.optimizers import (
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Muon,
    NAdam,
    RAdam,
    RMSprop,
)

__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "lr_scheduler",
]
