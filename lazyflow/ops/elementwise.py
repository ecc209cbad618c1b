"""Functions of each element: arithmetic, functions of real numbers, choice, conversion.

Operands broadcast as in NumPy and are promoted as in PyTorch: Tensors of rank 1 and more decide the dtype;
those of rank 0, and then numbers, matter only where their kind (bool, integer, floating) is higher. Bools
count as 0 and 1 in arithmetic and give int64.
"""

from __future__ import annotations

import math

from lazyflow.append import append, element_type
from lazyflow.compiler import primitives
from lazyflow.compiler.primitives import Primitive
from lazyflow.ops.function import (
    Gradient,
    common,
    composition,
    function,
    gradient_rule,
    real,
    tensor,
    to_dtype,
)
from lazyflow.runtime import dtypes
from lazyflow.tensor import Tensor, TensorLike

# --- arithmetic -------------------------------------------------------------------------------------------


@function
def add(a: TensorLike, b: TensorLike) -> Tensor:
    """``a + b``, element by element."""
    return append(primitives.add, *common("add", a, b, least=dtypes.int64))


@function
def sub(a: TensorLike, b: TensorLike) -> Tensor:
    """``a - b``, element by element."""
    return append(primitives.sub, *common("sub", a, b, least=dtypes.int64))


@function
def mul(a: TensorLike, b: TensorLike) -> Tensor:
    """``a * b``, element by element."""
    return append(primitives.mul, *common("mul", a, b, least=dtypes.int64))


@function
def div(a: TensorLike, b: TensorLike) -> Tensor:
    """``a / b``, element by element; integers give float32."""
    return append(primitives.div, *common("div", a, b, least=dtypes.float32))


@function
def floor_div(a: TensorLike, b: TensorLike) -> Tensor:
    """``a // b``: the quotient rounded down. An integer divided by zero gives 0; the derivative is zero."""
    return append(primitives.floor_div, *common("floor_div", a, b, least=dtypes.int64))


@function
def mod(a: TensorLike, b: TensorLike) -> Tensor:
    """``a % b`` with the sign of ``b``, as in Python. For integers, ``a % 0`` is 0."""
    return append(primitives.mod, *common("mod", a, b, least=dtypes.int64))


@function
def pow(a: TensorLike, b: TensorLike) -> Tensor:
    """``a ** b``, element by element.

    The gradient by ``b`` is zero where ``a`` is zero and ``b`` is not negative. Integers stay integers: a
    negative exponent then gives 0, but for the bases 1 and -1.

    Args:
        a: The base.
        b: The exponent; the number 2 gives ``a * a``.

    Returns:
        Tensor of the broadcast shape.
    """
    if isinstance(b, int | float) and b == 2 and isinstance(a, Tensor) and _keeps(a, b):
        return append(primitives.mul, a, a)
    return append(primitives.pow_, *common("pow", a, b, least=dtypes.int64))


def _keeps(a: Tensor, exponent: int | float) -> bool:
    """Whether a power of ``a`` has its dtype."""
    return dtypes.is_floating(a.dtype) or (isinstance(exponent, int) and dtypes.is_integer(a.dtype))


@function
def minimum(a: TensorLike, b: TensorLike) -> Tensor:
    """The smaller of two elements, NaN where one is NaN. Where they are equal each gets half the gradient."""
    return append(primitives.minimum, *common("minimum", a, b))


@function
def maximum(a: TensorLike, b: TensorLike) -> Tensor:
    """The larger of two elements, NaN where one is NaN. Where they are equal each gets half the gradient."""
    return append(primitives.maximum, *common("maximum", a, b))


@function
def neg(x: TensorLike) -> Tensor:
    """``-x``; unsigned integers wrap."""
    return append(primitives.neg, *common("neg", x, least=dtypes.int64))


@function
def abs(x: TensorLike) -> Tensor:
    """The absolute value; its derivative at 0 is 0."""
    return append(primitives.abs_, *common("abs", x, least=dtypes.int64))


@function
def sign(x: TensorLike) -> Tensor:
    """-1, 0 or 1; NaN for NaN. The derivative is zero."""
    return append(primitives.sign, *common("sign", x, least=dtypes.int64))


@function
def square(x: TensorLike) -> Tensor:
    """``x * x``."""
    (operand,) = common("square", x, least=dtypes.int64)
    return append(primitives.mul, operand, operand)


@composition
def clip(x: TensorLike, low: TensorLike | None = None, high: TensorLike | None = None) -> Tensor:
    """The elements limited to ``[low, high]``; NaN stays NaN.

    The gradient is that of ``x`` where ``low <= x <= high``, the limits included, else that of the limit.

    Args:
        x: Tensor of any shape.
        low: The lower limit, or None.
        high: The upper limit, or None; it wins where it is below ``low``.

    Returns:
        Tensor of the broadcast shape.
    """
    limits = [limit for limit in (low, high) if limit is not None]
    result, *bounds = common("clip", x, *limits)
    if low is not None:
        bound = bounds[0]
        result = where(result < bound, bound, result)
    if high is not None:
        bound = bounds[-1]
        result = where(result > bound, bound, result)
    return result


# --- functions of real numbers ----------------------------------------------------------------------------


@function
def exp(x: TensorLike) -> Tensor:
    """``e ** x``. Integers become float32, here and in the functions below."""
    return append(primitives.exp, real(x, "exp"))


@function
def expm1(x: TensorLike) -> Tensor:
    """``exp(x) - 1``, accurate for small x."""
    return append(primitives.expm1, real(x, "expm1"))


@function
def log(x: TensorLike) -> Tensor:
    """The natural logarithm: -inf at 0, NaN below."""
    return append(primitives.log, real(x, "log"))


@function
def log1p(x: TensorLike) -> Tensor:
    """``log(1 + x)``, accurate for small x."""
    return append(primitives.log1p, real(x, "log1p"))


@function
def sqrt(x: TensorLike) -> Tensor:
    """The square root; its derivative at 0 is infinite."""
    return append(primitives.sqrt, real(x, "sqrt"))


@function
def rsqrt(x: TensorLike) -> Tensor:
    """``1 / sqrt(x)``."""
    return append(primitives.rsqrt, real(x, "rsqrt"))


@function
def tanh(x: TensorLike) -> Tensor:
    """The hyperbolic tangent."""
    return append(primitives.tanh, real(x, "tanh"))


@function
def erf(x: TensorLike) -> Tensor:
    """The error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t**2)`` from 0 to x."""
    return append(primitives.erf, real(x, "erf"))


@function
def sin(x: TensorLike) -> Tensor:
    """The sine of x in radians."""
    return append(primitives.sin, real(x, "sin"))


@function
def cos(x: TensorLike) -> Tensor:
    """The cosine of x in radians."""
    return append(primitives.cos, real(x, "cos"))


@composition
def sigmoid(x: TensorLike) -> Tensor:
    """``1 / (1 + exp(-x))``, without overflow for any x and with a finite gradient everywhere."""
    operand = real(x, "sigmoid")
    negative = operand < 0.0
    z = exp(where(negative, operand, -operand))  # at most 1
    return where(negative, z, 1.0) / (1.0 + z)


def _rounding(primitive: Primitive, x: TensorLike) -> Tensor:
    operand = tensor(x, primitive.name)
    return append(primitive, operand) if dtypes.is_floating(operand.dtype) else operand


@function
def floor(x: TensorLike) -> Tensor:
    """The largest integer not above x, in x's dtype; integers as they are. The derivative is zero."""
    return _rounding(primitives.floor, x)


@function
def ceil(x: TensorLike) -> Tensor:
    """The smallest integer not below x, in x's dtype; integers as they are. The derivative is zero."""
    return _rounding(primitives.ceil, x)


@function
def round(x: TensorLike) -> Tensor:
    """The nearest integer, halves to even, in x's dtype; integers as they are. The derivative is zero."""
    return _rounding(primitives.round_, x)


# --- choice and conversion --------------------------------------------------------------------------------


@function
def where(condition: TensorLike, a: TensorLike, b: TensorLike) -> Tensor:
    """``a`` where the condition is true, ``b`` elsewhere, all three broadcast.

    Args:
        condition: Bool tensor.
        a: Taken where it is true.
        b: Taken where it is false.

    Returns:
        Tensor of the broadcast shape and the promoted dtype of ``a`` and ``b``. The one that is not taken
        gets no gradient there, whatever its value.
    """
    return append(primitives.where, tensor(condition, "where"), *common("where", a, b))


@function
def cast(x: TensorLike, dtype: object) -> Tensor:
    """The elements converted to another dtype.

    Floats that become integers are cut towards zero and saturate; NaN gives 0. The gradient is cast back.

    Args:
        x: Tensor of any shape.
        dtype: ``lf.float32``, a numpy dtype, or its name.
    """
    return to_dtype(tensor(x, "cast"), element_type(dtype))


# --- gradient rules ---------------------------------------------------------------------------------------

Gradients = tuple[Gradient, ...]


@gradient_rule(primitives.add)
def _(dy: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Gradients:
    return dy, dy


@gradient_rule(primitives.sub)
def _(dy: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Gradients:
    return dy, lambda: -dy


@gradient_rule(primitives.mul)
def _(dy: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Gradients:
    return lambda: dy * b, lambda: dy * a


@gradient_rule(primitives.div)
def _(dy: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Gradients:
    return lambda: dy / b, lambda: -dy * y / b


@gradient_rule(primitives.floor_div)
def _(dy: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Gradients:
    return None, None


@gradient_rule(primitives.mod)
def _(dy: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Gradients:
    return dy, lambda: -dy * (a // b)


@gradient_rule(primitives.pow_)
def _(dy: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Gradients:
    return lambda: _power_by_base(dy, a, b), lambda: _power_by_exponent(dy, y, a, b)


def _power_by_base(dy: Tensor, a: Tensor, b: Tensor) -> Tensor:
    op = b.value.op
    if op.primitive is primitives.constant and op.attributes["value"].all():
        return dy * (b * a ** (b - 1.0))
    return dy * where(b == 0.0, 0.0, b * a ** where(b == 0.0, 1.0, b - 1.0))  # no 0 * inf at a = 0


def _power_by_exponent(dy: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return dy * (y * log(where((a == 0.0) & (b >= 0.0), 1.0, a)))


# As in PyTorch: the gradient is halved between equals, and NaN lets it pass to both.
@gradient_rule(primitives.minimum)
def _(dy: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Gradients:
    return lambda: _chosen(dy, a, b, a > b), lambda: _chosen(dy, a, b, b > a)


@gradient_rule(primitives.maximum)
def _(dy: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Gradients:
    return lambda: _chosen(dy, a, b, a < b), lambda: _chosen(dy, a, b, b < a)


def _chosen(dy: Tensor, a: Tensor, b: Tensor, lost: Tensor) -> Tensor:
    return where(lost, 0.0, where(a == b, dy * 0.5, dy))


@gradient_rule(primitives.neg)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (-dy,)


@gradient_rule(primitives.abs_)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (dy * sign(x),)


@gradient_rule(primitives.exp)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (dy * y,)


@gradient_rule(primitives.expm1)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (dy * (y + 1.0),)


@gradient_rule(primitives.log)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (dy / x,)


@gradient_rule(primitives.log1p)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (dy / (1.0 + x),)


@gradient_rule(primitives.sqrt)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (dy * 0.5 / y,)


@gradient_rule(primitives.rsqrt)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (dy * -0.5 * y / x,)


@gradient_rule(primitives.tanh)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (dy * (1.0 - y * y),)


@gradient_rule(primitives.erf)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (dy * (2.0 / math.sqrt(math.pi) * exp(-(x * x))),)


@gradient_rule(primitives.sin)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (dy * cos(x),)


@gradient_rule(primitives.cos)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (-dy * sin(x),)


@gradient_rule(primitives.sign)
@gradient_rule(primitives.floor)
@gradient_rule(primitives.ceil)
@gradient_rule(primitives.round_)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (None,)


@gradient_rule(primitives.where)
def _(dy: Tensor, y: Tensor, condition: Tensor, a: Tensor, b: Tensor) -> Gradients:
    return None, lambda: where(condition, dy, 0.0), lambda: where(condition, 0.0, dy)


@gradient_rule(primitives.cast)
def _(dy: Tensor, y: Tensor, x: Tensor) -> Gradients:
    return (cast(dy, x.dtype),)
