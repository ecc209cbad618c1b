"""Random draws: counter-based, so that fusion, threads and the order of execution change no bit.

Element i of a draw is word i % 4 of Philox4x32-10 with the seed as key and the counter (i // 4, the draw's
stream, the run counter). Seed and run counter are variables of the state; a stream is given when the op is
appended.
"""

from __future__ import annotations

import math
from typing import Any

from lazyflow.append import append, as_shape, element_type
from lazyflow.compiler import primitives
from lazyflow.compiler.graph import make
from lazyflow.context import GraphContext, current_graph
from lazyflow.location import user_line
from lazyflow.ops.elementwise import cast, cos, log1p, sqrt
from lazyflow.ops.function import composition, no_gradient, number
from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import Shape
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import ArgumentError, DTypeError, message
from lazyflow.tensor import Tensor
from lazyflow.variable import Variable

SEED, RUNS = "random/seed", "random/runs"

# How many of a word's top bits a uniform number of the dtype has: no more than it holds, so that none is 1.
_BITS = {dtypes.float16: 11, dtypes.bfloat16: 8, dtypes.float32: 24, dtypes.float64: 24}


_NORMAL = 2.0**-126  # float32 holds smaller numbers with fewer bits


def _state() -> tuple[Tensor, Tensor]:
    """The graph's seed and run counter."""
    shared = current_graph("random draw").shared
    for name in (SEED, RUNS):
        if name not in shared:
            shared[name] = Variable(0, (), dtypes.int64, name=name)
    return shared[SEED], shared[RUNS]


def count_runs(graph: GraphContext) -> None:
    """Append to every program that draws the step of the run counter, once per finished run."""
    if RUNS not in graph.shared:
        return
    runs: Variable = graph.shared[RUNS]
    for program in graph.ir.programs.values():
        ops = graph.ir.reachable([program])
        if not any(op.primitive is primitives.philox for op in ops):
            continue
        step = append(primitives.add, runs, number(1, dtypes.int64))
        given = {"variable": runs.ir, "guarded": False}
        op = make(primitives.assign, (step.value,), given, graph.origin(f"{RUNS}.assign"))
        program.effects.append(graph.append(op))


def _stream() -> Tensor:
    shared = current_graph("random draw").shared
    stream: int = shared.get("random/streams", 0)
    shared["random/streams"] = stream + 1
    return number(stream, dtypes.int64)


def _positions(shape: Shape) -> Tensor:
    return append(primitives.position, shape=shape)


def _uniform(stream: Tensor, element: Tensor, dtype: DType, scale: float | Tensor = 1.0) -> Tensor:
    """Numbers in [0, scale)."""
    bits = _BITS[dtype]
    words = append(primitives.philox, *_state(), stream, element)
    top = cast(append(primitives.floor_div, words, number(2 ** (32 - bits), dtypes.uint32)), dtype)
    step = 2.0**-bits
    if not isinstance(scale, Tensor) and dtype not in dtypes.HALF and abs(scale) * step >= _NORMAL:
        return top * (scale * step)  # as a power of 2 rounds nothing, unless the product has too small a step
    drawn = top * step
    return drawn if _is(scale, 1) else drawn * scale


def _checked(shape: Any, dtype: object, call: str) -> tuple[Shape, DType]:
    current_graph(call)
    found = element_type(dtype)
    if not dtypes.is_floating(found):
        text = f"{call}: {found.name} is not drawn; expected a floating type"
        raise DTypeError(message(text, here=f"at {user_line()}"))
    return as_shape(shape, call), found


def _out_of_range(headline: str) -> ArgumentError:
    return ArgumentError(message(headline, here=f"at {user_line()}"))


@composition
def uniform(
    shape: Any, low: float | Tensor = 0.0, high: float | Tensor = 1.0, dtype: object = dtypes.float32
) -> Tensor:
    """Random numbers, evenly spread over [low, high).

    Args:
        shape: Sizes: integers, names or Dimensions.
        low: The lower limit, a number or a scalar.
        high: The upper limit, a number or a scalar.
        dtype: A floating type. A number has the top 24 bits of its word (11 in float16, 8 in bfloat16).

    Raises:
        ArgumentError: if the limits are numbers, and ``high`` is below ``low``.

    Example:
        >>> import lazyflow as lf
        >>> with lf.Graph():
        ...     x = lf.placeholder("x", ("batch", 8))
        ...     x + lf.uniform(x.shape, -0.1, 0.1)
        <Tensor 'add' float32[batch, 8]>

    Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
    """
    if not isinstance(low, Tensor) and not isinstance(high, Tensor) and not low <= high:
        raise _out_of_range(f"uniform: high {high!r} is below low {low!r}")
    sizes, found = _checked(shape, dtype, "uniform")
    draw = _uniform(_stream(), _positions(sizes), found, high if _is(low, 0) else high - low)
    return _shifted(draw, low)


def _shifted(x: Tensor, shift: float | Tensor) -> Tensor:
    return x if _is(shift, 0) else x + shift


def _is(value: float | Tensor, number: int) -> bool:
    return not isinstance(value, Tensor) and value == number


@composition
def normal(
    shape: Any, mean: float | Tensor = 0.0, std: float | Tensor = 1.0, dtype: object = dtypes.float32
) -> Tensor:
    """Random numbers of the normal distribution.

    Args:
        shape: Sizes: integers, names or Dimensions.
        mean: The centre, a number or a scalar.
        std: The standard deviation, a number or a scalar.
        dtype: A floating type; half types are drawn in float32.

    Raises:
        ArgumentError: if ``std`` is a number below 0.

    Source: Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958: elements 2j and 2j + 1
    are the cosine and the sine of one pair of uniform numbers, made of words 2j and 2j + 1.
    """
    if not isinstance(std, Tensor) and not std >= 0:
        raise _out_of_range(f"normal: std {std!r} is out of range; expected std >= 0")
    sizes, found = _checked(shape, dtype, "normal")
    wide = dtypes.float32 if found in dtypes.HALF else found
    stream, position = _stream(), _positions(sizes)
    odd = position % 2
    first = position - odd
    radius = sqrt(log1p(-_uniform(stream, first, wide)) * -2.0)
    turn = _uniform(stream, first + 1, wide) - cast(odd, wide) * 0.25  # a quarter back makes a sine
    drawn = radius * cos(turn * (2.0 * math.pi))
    return cast(_shifted(drawn if _is(std, 1) else drawn * std, mean), found)


@composition
def bernoulli(shape: Any, p: float | Tensor = 0.5) -> Tensor:
    """Random bools: True with probability ``p``.

    Args:
        shape: Sizes: integers, names or Dimensions.
        p: The probability, a number in [0, 1] or a tensor that broadcasts to the shape.
    """
    if not isinstance(p, Tensor) and not 0 <= p <= 1:
        text = f"bernoulli: p {p!r} is out of range"
        raise ArgumentError(message(text, expected="a number in [0, 1]", here=f"at {user_line()}"))
    sizes, found = _checked(shape, dtypes.float32, "bernoulli")
    return _uniform(_stream(), _positions(sizes), found) < p


def rand(*shape: Any) -> Tensor:
    """Uniform float32 numbers in [0, 1); the shape as several arguments or as one."""
    return uniform(shape[0] if len(shape) == 1 else shape)


def randn(*shape: Any) -> Tensor:
    """Normal float32 numbers; the shape as several arguments or as one."""
    return normal(shape[0] if len(shape) == 1 else shape)


no_gradient(primitives.philox, primitives.position)
