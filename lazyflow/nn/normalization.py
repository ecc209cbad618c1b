"""Layer normalisation."""

from __future__ import annotations

from collections.abc import Sequence

from lazyflow.compiler.rules import show
from lazyflow.location import user_line
from lazyflow.nn.arguments import check_number, check_size, widened
from lazyflow.nn.module import Module
from lazyflow.ops.elementwise import cast, rsqrt
from lazyflow.ops.function import composition, real
from lazyflow.ops.reduction import mean
from lazyflow.runtime.errors import ArgumentError, ShapeError, message
from lazyflow.tensor import Tensor, TensorLike
from lazyflow.variable import Parameter


@composition
def layer_norm(
    x: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``(x - mean) / sqrt(variance + eps) * weight + bias``, over the last axes.

    Args:
        x: Tensor of shape (..., *normalized_shape).
        normalized_shape: The sizes of the last axes, over which mean and (biased) variance are taken.
        weight: Tensor of shape normalized_shape, or None.
        bias: Tensor of shape normalized_shape, or None.
        eps: Added to the variance.

    Returns:
        Tensor of x's shape and dtype; float32 for integers.

    Raises:
        ShapeError: if normalized_shape is not the end of x's shape, or not the shape of weight and bias.

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """
    operand = real(x, "layer_norm")
    sizes = _sizes("layer_norm", normalized_shape)
    check_number("layer_norm", "eps", eps, 0.0)
    _check(operand, sizes, weight, bias)
    wide = widened(operand)
    axes = tuple(range(-len(sizes), 0))
    centred = wide - mean(wide, axes, keepdims=True)
    y = centred * rsqrt(mean(centred * centred, axes, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return cast(y if bias is None else y + bias, operand.dtype)


def _sizes(call: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    given = normalized_shape if isinstance(normalized_shape, list | tuple) else (normalized_shape,)
    if not given:
        raise ArgumentError(f"{call}: normalized_shape is empty; expected the sizes of the last axes")
    return tuple(check_size(call, "normalized_shape", size) for size in given)


def _check(x: Tensor, sizes: tuple[int, ...], weight: Tensor | None, bias: Tensor | None) -> None:
    if x.shape[-len(sizes) :] != sizes:
        raise ShapeError(
            message(
                f"layer_norm: normalized_shape {sizes} is not the end of x's shape {show(x.shape)}",
                x=x.describe(),
                here=f"at {user_line()}",
            )
        )
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.shape != sizes:
            raise ShapeError(
                message(
                    f"layer_norm: {name} is {show(tensor.shape)}, normalized_shape is {sizes}",
                    tensor=tensor.describe(),
                    here=f"at {user_line()}",
                )
            )


class LayerNorm(Module):
    """``functional.layer_norm`` with a weight, ones at first, and a bias, zeros at first.

    Args:
        normalized_shape: The sizes of the last axes, over which mean and variance are taken.
        eps: Added to the variance.
        elementwise_affine: Whether there are a weight and a bias.
        bias: Whether there is a bias beside the weight.
        dtype: The element type of both; float32 unless given.
        name: Begins the names of the parameters.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: object = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.normalized_shape = _sizes("LayerNorm", normalized_shape)
        self.eps = check_number("LayerNorm", "eps", eps, 0.0)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        if elementwise_affine:
            self.weight = Parameter(1.0, self.normalized_shape, dtype)
        if elementwise_affine and bias:
            self.bias = Parameter(0.0, self.normalized_shape, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine = self.weight is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}"
