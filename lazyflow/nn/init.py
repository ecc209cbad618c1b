"""Initial values of parameters: initializers, functions ``(shape, dtype) -> Tensor``.

``plan.session(seed=...)`` evaluates them once, in the ``init`` program. A parameter of a module takes
another one by ``parameter.initial = nn.init.normal(std=0.02)``, before the graph is compiled.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from lazyflow.location import user_line
from lazyflow.nn.arguments import check_choice, check_number
from lazyflow.ops import random
from lazyflow.ops.shaping import full
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import ShapeError, message
from lazyflow.tensor import Tensor
from lazyflow.variable import Initializer

Mode: TypeAlias = Literal["fan_in", "fan_out"]
Nonlinearity: TypeAlias = Literal["linear", "sigmoid", "tanh", "relu", "leaky_relu"]

_NONLINEARITIES = ("linear", "sigmoid", "tanh", "relu", "leaky_relu")


def constant(value: float) -> Initializer:
    """One number everywhere."""
    return lambda shape, dtype: full(shape, value, dtype)


def zeros() -> Initializer:
    """Zeros."""
    return constant(0.0)


def ones() -> Initializer:
    """Ones."""
    return constant(1.0)


def uniform(low: float = 0.0, high: float = 1.0) -> Initializer:
    """Numbers evenly spread over [low, high).

    Args:
        low: The lower limit.
        high: The upper limit, not below it.
    """
    check_number("init.uniform", "low", low, -math.inf)
    check_number("init.uniform", "high", high, low)
    return lambda shape, dtype: random.uniform(shape, low, high, dtype)


def normal(mean: float = 0.0, std: float = 1.0) -> Initializer:
    """Numbers of the normal distribution.

    Args:
        mean: The centre.
        std: The standard deviation, not negative.
    """
    check_number("init.normal", "mean", mean, -math.inf)
    check_number("init.normal", "std", std, 0.0)
    return lambda shape, dtype: random.normal(shape, mean, std, dtype)


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Uniform numbers of variance ``gain**2 * 2 / (fan_in + fan_out)``.

    Args:
        gain: A factor of the standard deviation; see ``calculate_gain``.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    2010.
    """
    check_number("init.xavier_uniform", "gain", gain, 0.0)
    return lambda shape, dtype: _spread(shape, dtype, _xavier("xavier_uniform", shape, gain))


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Normal numbers of variance ``gain**2 * 2 / (fan_in + fan_out)``; see ``xavier_uniform``."""
    check_number("init.xavier_normal", "gain", gain, 0.0)
    return lambda shape, dtype: random.normal(shape, 0.0, _xavier("xavier_normal", shape, gain), dtype)


def kaiming_uniform(
    a: float = 0.0, mode: Mode = "fan_in", nonlinearity: Nonlinearity = "leaky_relu"
) -> Initializer:
    """Uniform numbers of variance ``gain**2 / fan``.

    Args:
        a: The negative slope of leaky_relu, which gives the gain.
        mode: Whether the fan is that of the inputs or that of the outputs.
        nonlinearity: What follows the layer; see ``calculate_gain``.

    Source: He et al., "Delving Deep into Rectifiers", 2015.
    """
    gain = calculate_gain(nonlinearity, a)
    check_choice("init.kaiming_uniform", "mode", mode, ("fan_in", "fan_out"))
    return lambda shape, dtype: _spread(shape, dtype, _kaiming("kaiming_uniform", shape, gain, mode))


def kaiming_normal(
    a: float = 0.0, mode: Mode = "fan_in", nonlinearity: Nonlinearity = "leaky_relu"
) -> Initializer:
    """Normal numbers of variance ``gain**2 / fan``; see ``kaiming_uniform``."""
    gain = calculate_gain(nonlinearity, a)
    check_choice("init.kaiming_normal", "mode", mode, ("fan_in", "fan_out"))
    return lambda shape, dtype: random.normal(
        shape, 0.0, _kaiming("kaiming_normal", shape, gain, mode), dtype
    )


def calculate_gain(nonlinearity: Nonlinearity, a: float = 0.01) -> float:
    """The factor that keeps the variance through a nonlinearity: sqrt(2) for relu, 5/3 for tanh, ...

    Args:
        nonlinearity: "linear", "sigmoid", "tanh", "relu" or "leaky_relu".
        a: The negative slope of leaky_relu.
    """
    check_choice("calculate_gain", "nonlinearity", nonlinearity, _NONLINEARITIES)
    slope = check_number("calculate_gain", "a", a, -math.inf)
    leaky = math.sqrt(2.0 / (1.0 + slope * slope))
    gains = {"tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "leaky_relu": leaky}
    return gains.get(nonlinearity, 1.0)


def fans(call: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """``(fan_in, fan_out)`` of a weight of shape (out, in, ...); further axes count to both.

    Raises:
        ShapeError: if the weight has fewer than two axes.
    """
    if len(shape) < 2:
        raise ShapeError(
            message(
                f"init.{call}: a weight of shape {shape} has no fan",
                expected="at least two axes: (out, in, ...)",
                here=f"at {user_line()}",
            )
        )
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _xavier(call: str, shape: tuple[int, ...], gain: float) -> float:
    """The standard deviation."""
    return gain * math.sqrt(2.0 / sum(fans(call, shape)))


def _kaiming(call: str, shape: tuple[int, ...], gain: float, mode: Mode) -> float:
    """The standard deviation."""
    return gain / math.sqrt(fans(call, shape)[mode == "fan_out"])


def _spread(shape: tuple[int, ...], dtype: DType, std: float) -> Tensor:
    """Uniform numbers around 0 of a standard deviation."""
    limit = math.sqrt(3.0) * std
    return random.uniform(shape, -limit, limit, dtype)
