"""Dropout."""

from __future__ import annotations

from lazyflow.nn.arguments import check_number
from lazyflow.nn.module import Module
from lazyflow.ops.elementwise import where
from lazyflow.ops.function import composition, real
from lazyflow.ops.random import bernoulli
from lazyflow.ops.shaping import zeros_like
from lazyflow.tensor import Tensor, TensorLike


@composition
def dropout(x: TensorLike, p: float = 0.5, training: bool = True) -> Tensor:
    """Each element is zero with probability ``p``, drawn anew in every run, else divided by ``1 - p``.

    Args:
        x: Tensor of any shape.
        p: The probability that an element is dropped, in [0, 1].
        training: Whether anything is dropped; a choice of the graph, not of the run.

    Returns:
        Tensor of x's shape and dtype; float32 for integers.

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014.
    """
    check_number("dropout", "p", p, 0.0, 1.0)
    operand = real(x, "dropout")
    if not training or p == 0.0:
        return operand
    if p == 1.0:
        return zeros_like(operand)
    return where(bernoulli(operand.shape, 1.0 - p), operand * (1.0 / (1.0 - p)), 0.0)


class Dropout(Module):
    """``functional.dropout`` in the training form of a module; the identity after ``eval()``.

    Args:
        p: The probability that an element is dropped, in [0, 1].
        name: Begins the names of its ops.
    """

    def __init__(self, p: float = 0.5, name: str | None = None) -> None:
        super().__init__(name)
        self.p = check_number("Dropout", "p", p, 0.0, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"
