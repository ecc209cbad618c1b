"""The affine map, the identity, and flattening."""

from __future__ import annotations

import math

from lazyflow.compiler.rules import show
from lazyflow.location import user_line
from lazyflow.nn import init
from lazyflow.nn.arguments import check_size
from lazyflow.nn.module import Module
from lazyflow.ops.function import composition, one_axis, real, tensor
from lazyflow.ops.linalg import matmul
from lazyflow.ops.shaping import reshaped, transpose
from lazyflow.runtime.dimensions import elements
from lazyflow.runtime.errors import ShapeError, message
from lazyflow.tensor import Tensor, TensorLike
from lazyflow.variable import Parameter


@composition
def linear(x: TensorLike, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``.

    Args:
        x: Tensor of shape (..., in).
        weight: Tensor of shape (out, in).
        bias: Tensor of shape (out,), or None.

    Returns:
        Tensor of shape (..., out).

    Raises:
        ShapeError: if the shapes do not fit.
    """
    operand = real(x, "linear")
    if weight.ndim != 2 or not operand.ndim or operand.shape[-1] != weight.shape[1]:
        raise ShapeError(
            message(
                f"linear: x is {show(operand.shape)}, the weight is {show(weight.shape)}",
                expected="x of shape (..., in) and a weight of shape (out, in)",
                x=operand.describe(),
                weight=weight.describe(),
                here=f"at {user_line()}",
            )
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(
            message(
                f"linear: the bias is {show(bias.shape)}, the weight is {show(weight.shape)}",
                expected="a bias of shape (out,) and a weight of shape (out, in)",
                bias=bias.describe(),
                here=f"at {user_line()}",
            )
        )
    y = matmul(operand, transpose(weight))
    return y if bias is None else y + bias


class Linear(Module):
    """``functional.linear`` with a weight and a bias.

    Both are drawn uniformly from ``+-1 / sqrt(in_features)``, as in PyTorch and OneFlow.

    Args:
        in_features: The size of the last axis of the input.
        out_features: The size of the last axis of the output.
        bias: Whether there is a bias.
        dtype: The element type of both; float32 unless given.
        name: Begins the names of the parameters.

    Attributes:
        weight: Parameter of shape (out_features, in_features).
        bias: Parameter of shape (out_features,), or None.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        dtype: object = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.in_features = check_size("Linear", "in_features", in_features)
        self.out_features = check_size("Linear", "out_features", out_features)
        limit = 1.0 / math.sqrt(in_features)
        # the limit of kaiming_uniform with a = sqrt(5) is 1 / sqrt(fan_in) too
        self.weight = Parameter(init.kaiming_uniform(math.sqrt(5.0)), (out_features, in_features), dtype)
        self.bias: Parameter | None = None
        if bias:
            self.bias = Parameter(init.uniform(-limit, limit), (out_features,), dtype)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


class Identity(Module):
    """Its input as it is; takes and ignores any arguments."""

    def __init__(self, *args: object, name: str | None = None, **kwargs: object) -> None:
        super().__init__(name)

    def forward(self, x: Tensor) -> Tensor:
        return x


@composition
def flatten(x: TensorLike, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """The axes from ``start_axis`` to ``end_axis`` as one.

    Args:
        x: Tensor of any shape.
        start_axis: The first axis to join.
        end_axis: The last one, included.

    Returns:
        Tensor of the same elements in the same order; of rank 1 for a scalar.
    """
    operand = tensor(x, "flatten")
    if not operand.ndim:
        return reshaped(operand, (1,))
    first = one_axis(start_axis, operand.ndim, "flatten")
    last = one_axis(end_axis, operand.ndim, "flatten")
    if last < first:
        raise ShapeError(
            message(
                f"flatten: end_axis {end_axis} is before start_axis {start_axis} in {show(operand.shape)}",
                here=f"at {user_line()}",
            )
        )
    shape = operand.shape
    return reshaped(operand, (*shape[:first], elements(shape[first : last + 1]), *shape[last + 1 :]))


class Flatten(Module):
    """``functional.flatten`` as a module, which keeps the first axis unless told.

    Args:
        start_axis: The first axis to join.
        end_axis: The last one, included.
        name: Begins the names of its ops.
    """

    def __init__(self, start_axis: int = 1, end_axis: int = -1, name: str | None = None) -> None:
        super().__init__(name)
        self.start_axis = start_axis
        self.end_axis = end_axis

    def forward(self, x: Tensor) -> Tensor:
        return flatten(x, self.start_axis, self.end_axis)

    def extra_repr(self) -> str:
        return f"start_axis={self.start_axis}, end_axis={self.end_axis}"
