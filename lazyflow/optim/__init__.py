"""Optimizers and learning-rate schedulers, by the documented equations.

``optim.oneflow`` and ``optim.pytorch`` preset the switches by which other systems read the equations.
"""

from lazyflow.optim import lr_scheduler, oneflow, pytorch
from lazyflow.optim.adadelta import Adadelta
from lazyflow.optim.adafactor import Adafactor
from lazyflow.optim.adagrad import Adagrad
from lazyflow.optim.adam import Adam, AdamW
from lazyflow.optim.adamax import Adamax
from lazyflow.optim.adan import Adan
from lazyflow.optim.average import EMA, SWA
from lazyflow.optim.ftrl import Ftrl
from lazyflow.optim.lamb import LAMB, LARS
from lazyflow.optim.lion import Lion
from lazyflow.optim.loss_scale import LossScaler, StaticLossScaler
from lazyflow.optim.muon import Muon
from lazyflow.optim.nadam import NAdam
from lazyflow.optim.optimizer import Optimizer
from lazyflow.optim.options import Option
from lazyflow.optim.radam import RAdam
from lazyflow.optim.reading import read_with
from lazyflow.optim.rmsprop import RMSprop
from lazyflow.optim.schedule_free import ScheduleFreeAdamW
from lazyflow.optim.sgd import SGD

__all__ = [
    "EMA",
    "LAMB",
    "LARS",
    "SGD",
    "SWA",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "Ftrl",
    "Lion",
    "LossScaler",
    "Muon",
    "NAdam",
    "Optimizer",
    "Option",
    "RAdam",
    "RMSprop",
    "ScheduleFreeAdamW",
    "StaticLossScaler",
    "lr_scheduler",
    "oneflow",
    "pytorch",
    "read_with",
]
