"""Activation functions, and modules that apply them."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from lazyflow.nn.arguments import check_choice, widened
from lazyflow.nn.module import Module
from lazyflow.ops.elementwise import cast, erf, exp, log, log1p, sigmoid, tanh, where
from lazyflow.ops.function import composition, one_axis, real, tensor
from lazyflow.ops.reduction import max, sum
from lazyflow.ops.shaping import stop_gradient
from lazyflow.tensor import Tensor, TensorLike

Approximation: TypeAlias = Literal["none", "tanh"]


@composition
def relu(x: TensorLike) -> Tensor:
    """``max(x, 0)``. NaN stays NaN; the gradient at 0 is 0.

    Args:
        x: Tensor of any shape.

    Returns:
        Tensor of x's shape and dtype.
    """
    operand = tensor(x, "relu")
    return where(operand <= 0, 0, operand)


@composition
def gelu(x: TensorLike, approximate: Approximation = "none") -> Tensor:
    """``x`` times the probability that a standard normal number is below ``x``.

    Args:
        x: Tensor of any shape.
        approximate: "none" for the error function, "tanh" for the usual approximation by tanh.

    Returns:
        Tensor of x's shape and dtype; float32 for integers.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
    """
    check_choice("gelu", "approximate", approximate, ("none", "tanh"))
    operand = real(x, "gelu")
    wide = widened(operand)
    if approximate == "none":
        inside = erf(wide * math.sqrt(0.5))
    else:
        inside = tanh(math.sqrt(2.0 / math.pi) * (wide + 0.044715 * wide * wide * wide))
    return cast(0.5 * wide * (1.0 + inside), operand.dtype)


@composition
def silu(x: TensorLike) -> Tensor:
    """``x * sigmoid(x)``.

    Args:
        x: Tensor of any shape.

    Returns:
        Tensor of x's shape and dtype; float32 for integers.
    """
    operand = real(x, "silu")
    wide = widened(operand)
    return cast(wide * sigmoid(wide), operand.dtype)


@composition
def softplus(x: TensorLike) -> Tensor:
    """``log(1 + exp(x))``, without overflow.

    Args:
        x: Tensor of any shape.

    Returns:
        Tensor of x's shape and dtype; float32 for integers.
    """
    operand = real(x, "softplus")
    wide = widened(operand)
    negative = wide < 0.0
    rest = log1p(exp(where(negative, wide, -wide)))
    return cast(where(negative, rest, wide + rest), operand.dtype)


@composition
def softmax(x: TensorLike, axis: int = -1) -> Tensor:
    """``exp(x) / sum(exp(x))`` along an axis, without overflow.

    Args:
        x: Tensor of any shape.
        axis: The axis along which the result sums to 1.

    Returns:
        Tensor of x's shape and dtype; float32 for integers. NaN where all elements are -inf.
    """
    operand = real(x, "softmax")
    position = one_axis(axis, operand.ndim, "softmax")
    powers = exp(shifted(operand, position))
    return cast(powers / sum(powers, position, keepdims=True), operand.dtype)


@composition
def log_softmax(x: TensorLike, axis: int = -1) -> Tensor:
    """The logarithm of ``softmax``, accurate also where that is close to 0.

    Args:
        x: Tensor of any shape.
        axis: The axis along which the exponentials of the result sum to 1.

    Returns:
        Tensor of x's shape and dtype; float32 for integers.
    """
    operand = real(x, "log_softmax")
    position = one_axis(axis, operand.ndim, "log_softmax")
    z = shifted(operand, position)
    return cast(z - log(sum(exp(z), position, keepdims=True)), operand.dtype)


def shifted(x: Tensor, axis: int) -> Tensor:
    """``x`` less its largest element along the axis, whose gradient would cancel; half types in float32."""
    wide = widened(x)
    return wide - stop_gradient(max(wide, axis, keepdims=True))


# --- modules ------------------------------------------------------------------------------------------------


class ReLU(Module):
    """``functional.relu`` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return relu(x)


class SiLU(Module):
    """``functional.silu`` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return silu(x)


class Sigmoid(Module):
    """``functional.sigmoid`` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return sigmoid(x)


class Tanh(Module):
    """``functional.tanh`` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return tanh(x)


class GELU(Module):
    """``functional.gelu`` as a module.

    Args:
        approximate: "none" or "tanh".
        name: Begins the names of its ops.
    """

    def __init__(self, approximate: Approximation = "none", name: str | None = None) -> None:
        super().__init__(name)
        check_choice("GELU", "approximate", approximate, ("none", "tanh"))
        self.approximate: Approximation = approximate

    def forward(self, x: Tensor) -> Tensor:
        return gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """``functional.softmax`` as a module.

    Args:
        axis: The axis along which the result sums to 1.
        name: Begins the names of its ops.
    """

    def __init__(self, axis: int = -1, name: str | None = None) -> None:
        super().__init__(name)
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return softmax(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Softmax):
    """``functional.log_softmax`` as a module.

    Args:
        axis: The axis along which the exponentials of the result sum to 1.
        name: Begins the names of its ops.
    """

    def forward(self, x: Tensor) -> Tensor:
        return log_softmax(x, self.axis)
