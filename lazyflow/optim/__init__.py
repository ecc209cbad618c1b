"""Optimizers and learning-rate schedulers, by the documented equations.

``optim.oneflow`` and ``optim.pytorch`` preset the switches by which other systems read the equations.
"""

from lazyflow.optim import lr_scheduler, oneflow, pytorch
from lazyflow.optim.adam import Adam, AdamW
from lazyflow.optim.optimizer import Optimizer
from lazyflow.optim.options import Option
from lazyflow.optim.rmsprop import RMSprop
from lazyflow.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "Option", "RMSprop", "lr_scheduler", "oneflow", "pytorch"]
