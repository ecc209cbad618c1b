"""Loss functions, and modules that apply them."""

from __future__ import annotations

from typing import Literal, TypeAlias

from lazyflow.compiler.rules import show
from lazyflow.location import user_line
from lazyflow.nn.activation import shifted, softplus
from lazyflow.nn.arguments import check_choice, widened
from lazyflow.nn.module import Module
from lazyflow.ops.elementwise import cast, exp, log, where
from lazyflow.ops.function import composition, one_axis, real, tensor
from lazyflow.ops.indexing import check_index
from lazyflow.ops.reduction import mean, sum
from lazyflow.ops.shaping import expand_dims, iota
from lazyflow.runtime import dtypes
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import DTypeError, ShapeError, message
from lazyflow.tensor import Tensor, TensorLike

Reduction: TypeAlias = Literal["mean", "sum", "none"]

_REDUCTIONS = ("mean", "sum", "none")


def _reduced(loss: Tensor, reduction: Reduction, dtype: DType) -> Tensor:
    if reduction == "none":
        return cast(loss, dtype)
    return cast(mean(loss) if reduction == "mean" else sum(loss), dtype)


@composition
def cross_entropy(
    logits: TensorLike, labels: TensorLike, axis: int = -1, reduction: Reduction = "mean"
) -> Tensor:
    """The negative logarithm of the probability that ``softmax(logits)`` gives to the labels, in nats.

    Args:
        logits: Tensor of shape (..., classes, ...), with the classes on ``axis``.
        labels: Integer tensor of the shape of ``logits`` without ``axis``, each in [0, classes).
        axis: The axis of the classes.
        reduction: "mean" or "sum" over all labels, or "none".

    Returns:
        Scalar tensor, dtype of ``logits``; of the shape of ``labels`` where the reduction is "none".

    Raises:
        DTypeError: if the labels are no integers.
        ShapeError: if the shape of the labels does not fit.
        OutOfRangeError: while a program runs, if a label is no class; nothing is changed.
    """
    check_choice("cross_entropy", "reduction", reduction, _REDUCTIONS)
    scores, classes = real(logits, "cross_entropy"), tensor(labels, "cross_entropy")
    position = one_axis(axis, scores.ndim, "cross_entropy")
    _check_labels(scores, classes, position)
    chosen = cast(check_index(classes, scores.shape[position]), dtypes.int64)
    z = shifted(scores, position)
    is_label = iota(scores.shape, position) == expand_dims(chosen, position)
    loss = log(sum(exp(z), position)) - sum(where(is_label, z, 0.0), position)
    return _reduced(loss, reduction, scores.dtype)


def _check_labels(logits: Tensor, labels: Tensor, axis: int) -> None:
    rows = {"logits": logits.describe(), "labels": labels.describe(), "here": f"at {user_line()}"}
    if not dtypes.is_integer(labels.dtype):
        one_hot = labels.shape == logits.shape
        raise DTypeError(
            message(
                f"cross_entropy: labels are {labels.dtype.name}",
                expected="an integer type: the number of the class",
                **rows,
                hint=f"lf.argmax(labels, axis={axis})" if one_hot else 'labels.astype("int64")',
            )
        )
    expected = (*logits.shape[:axis], *logits.shape[axis + 1 :])
    if labels.shape != expected:
        raise ShapeError(
            message(
                f"cross_entropy: labels are {show(labels.shape)}, logits are {show(logits.shape)}",
                expected=f"labels of shape {show(expected)}: that of the logits without axis {axis}",
                **rows,
            )
        )


def _check_same_shape(call: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ShapeError(
            message(
                f"{call}: input is {show(input.shape)}, target is {show(target.shape)}",
                expected="one shape: broadcasting would compare every element with every other",
                input=input.describe(),
                target=target.describe(),
                here=f"at {user_line()}",
            )
        )


@composition
def mse_loss(input: TensorLike, target: TensorLike, reduction: Reduction = "mean") -> Tensor:
    """``(input - target) ** 2``.

    Args:
        input: Tensor of any shape.
        target: Tensor of the same shape.
        reduction: "mean" or "sum" over all elements, or "none".

    Returns:
        Scalar tensor, dtype of ``input``; of its shape where the reduction is "none".

    Raises:
        ShapeError: if the shapes differ.
    """
    check_choice("mse_loss", "reduction", reduction, _REDUCTIONS)
    x, y = real(input, "mse_loss"), tensor(target, "mse_loss")
    _check_same_shape("mse_loss", x, y)
    difference = widened(x) - y
    return _reduced(difference * difference, reduction, x.dtype)


@composition
def binary_cross_entropy_with_logits(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    reduction: Reduction = "mean",
    pos_weight: TensorLike | None = None,
) -> Tensor:
    """``-t * log(p) - (1 - t) * log(1 - p)`` for ``p = sigmoid(input)``, without overflow.

    Args:
        input: Tensor of any shape: logits.
        target: Tensor of the same shape: probabilities, or bools.
        weight: A factor of each loss, of a shape that broadcasts; or None.
        reduction: "mean" or "sum" over all elements, or "none".
        pos_weight: A factor of the part of ``t``, of a shape that broadcasts; or None.

    Returns:
        Scalar tensor, dtype of ``input``; of its shape where the reduction is "none".

    Raises:
        ShapeError: if the shapes of input and target differ.
    """
    call = "binary_cross_entropy_with_logits"
    check_choice(call, "reduction", reduction, _REDUCTIONS)
    x, given = real(input, call), real(target, call)
    _check_same_shape(call, x, given)
    wide, t = widened(x), widened(given)
    if pos_weight is None:
        loss = softplus(wide) - wide * t
    else:
        loss = (1.0 - t) * softplus(wide) + pos_weight * t * softplus(-wide)
    return _reduced(loss if weight is None else loss * weight, reduction, x.dtype)


# --- modules ------------------------------------------------------------------------------------------------


class MSELoss(Module):
    """``functional.mse_loss`` as a module.

    Args:
        reduction: "mean" or "sum" over all elements, or "none".
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_choice(type(self).__name__, "reduction", reduction, _REDUCTIONS)
        self.reduction: Reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return mse_loss(input, target, self.reduction)


class BCEWithLogitsLoss(Module):
    """``functional.binary_cross_entropy_with_logits`` as a module.

    Args:
        weight: A factor of each loss, or None.
        reduction: "mean" or "sum" over all elements, or "none".
        pos_weight: A factor of the part of the positives, or None.
    """

    def __init__(
        self,
        weight: TensorLike | None = None,
        reduction: Reduction = "mean",
        pos_weight: TensorLike | None = None,
    ) -> None:
        super().__init__()
        check_choice("BCEWithLogitsLoss", "reduction", reduction, _REDUCTIONS)
        self.weight, self.pos_weight = weight, pos_weight
        self.reduction: Reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)


class CrossEntropyLoss(Module):
    """``functional.cross_entropy`` as a module.

    Args:
        axis: The axis of the classes.
        reduction: "mean" or "sum" over all labels, or "none".
    """

    def __init__(self, axis: int = -1, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_choice("CrossEntropyLoss", "reduction", reduction, _REDUCTIONS)
        self.axis = axis
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels, self.axis, self.reduction)
