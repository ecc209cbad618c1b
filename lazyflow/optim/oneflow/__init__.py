"""The optimizers as OneFlow 0.9 computes them: the same classes with its switches and defaults."""

from lazyflow.optim.oneflow import lr_scheduler
from lazyflow.optim.oneflow.optimizers import LAMB, SGD, Adadelta, Adagrad, Adam, AdamW, RMSprop

__all__ = ["LAMB", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "RMSprop", "lr_scheduler"]
