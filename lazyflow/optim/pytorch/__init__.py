"""The optimizers as PyTorch 2.13 computes them: the same classes with its switches and defaults."""

from lazyflow.optim.pytorch import lr_scheduler
from lazyflow.optim.pytorch.optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, RAdam, RMSprop

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "RAdam", "RMSprop", "lr_scheduler"]
