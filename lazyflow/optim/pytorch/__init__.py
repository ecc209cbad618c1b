"""The optimizers as PyTorch 2.13 computes them: the same classes with its switches and defaults."""

from lazyflow.optim.pytorch import lr_scheduler
from lazyflow.optim.pytorch.optimizers import SGD, Adam, AdamW, RMSprop

__all__ = ["SGD", "Adam", "AdamW", "RMSprop", "lr_scheduler"]
